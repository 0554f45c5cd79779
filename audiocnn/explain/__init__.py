"""Why a network says what it says: a subject and a network in, arrays out. Nothing here draws or reads files."""
