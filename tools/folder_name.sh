# Prints the name of a folder as a part of a run folder's name: what a shell or a disk may stumble
# over becomes a dash, and then a checksum tells apart names that have become alike.
# usage: sh folder_name.sh FOLDER
name=$(basename -- "$1")
plain=$(printf '%s' "$name" | LC_ALL=C tr -cs 'A-Za-z0-9._\200-\377' '-')
if [ "$plain" = "$name" ]; then
    printf '%s\n' "$name"
else
    printf '%s-%s\n' "$plain" "$(printf '%s' "$name" | cksum | cut -d ' ' -f 1)"
fi
