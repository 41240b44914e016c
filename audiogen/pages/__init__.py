"""What every HTML page of audiogen is made of: markup, pictures and charts."""
