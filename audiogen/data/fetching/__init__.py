"""Published sets of sounds: downloaded, checked and unpacked."""
