"""Name a file that is given as a table but is something else, by its first bytes, with what to do instead."""

import io
import zipfile

from audiocnn.audio import sniff

_SAVE_AS_CSV = "open it and save the sheet as CSV (UTF-8)"
_LIST_THEM = "pass the folder that holds the recordings, or a CSV that lists them"
_KINDS = (  # magic number, its offset, what it is, what to do
    (b"%PDF-", 0, "a PDF", "copy its table into a spreadsheet and save that as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "an Excel or Office file", _SAVE_AS_CSV),
    (b"\x1f\x8b", 0, "a gzip archive", "unpack it, and pass the folder or the CSV in it"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive", "unpack it, and pass the folder or the CSV in it"),
    (b"Rar!\x1a\x07", 0, "a RAR archive", "unpack it, and pass the folder or the CSV in it"),
    (b"BZh", 0, "a bzip2 archive", "unpack it, and pass the folder or the CSV in it"),
    (b"\xfd7zXZ\0", 0, "an xz archive", "unpack it, and pass the folder or the CSV in it"),
    (b"ustar", 257, "a tar archive", "unpack it, and pass the folder or the CSV in it"),
    (b"\x89PNG\r\n\x1a\n", 0, "a PNG image", _LIST_THEM),
    (b"\xff\xd8\xff", 0, "a JPEG image", _LIST_THEM),
    (b"GIF8", 0, "a GIF image", _LIST_THEM),
    (b"II*\0", 0, "a TIFF image", _LIST_THEM),
    (b"MM\0*", 0, "a TIFF image", _LIST_THEM),
    (b"WEBP", 8, "a WebP image", _LIST_THEM),
    (b"ftyphei", 4, "a HEIC image", _LIST_THEM),
    (b"PAR1", 0, "a Parquet file", "write its table as CSV, such as with pandas: read_parquet(...).to_csv(...)"),
    (b"SQLite format 3\0", 0, "an SQLite database", "export its table as CSV"),
    (b"\x89HDF\r\n\x1a\n", 0, "an HDF5 file", "write its table as CSV"),
    (b"{\\rtf", 0, "a Word document (RTF)", "save its table as CSV (UTF-8)"),
    (b"version https://git-lfs.github.com/spec/", 0, "a git-lfs pointer, not the file itself", "run 'git lfs pull'"),
)
_TEXTS = (  # how a text begins, in lower case
    ((b"<!doctype html", b"<html"), "a web page (HTML)", "download the file itself, not the page that shows it"),
    ((b"<?xml",), "an XML file", "write its table as CSV"),
    ((b"{", b"["), "a JSON file", "write its table as CSV"),
)
_IN_ZIP = (  # a file in a ZIP archive, what the archive is, what to do
    ("xl/workbook.xml", "an Excel workbook", _SAVE_AS_CSV),
    ("xl/workbook.bin", "an Excel workbook", _SAVE_AS_CSV),
    ("word/document.xml", "a Word document", "save its table as CSV (UTF-8)"),
    ("Index/Document.iwa", "a Numbers spreadsheet", _SAVE_AS_CSV),
)


def describe(data: bytes) -> str | None:
    """Return what a file is and what to do with it, for a sentence that begins with the file; None if it is text.

    >>> describe(b"%PDF-1.7 ...")
    'is a PDF, not a table; copy its table into a spreadsheet and save that as CSV (UTF-8)'
    """
    found = _kind(data)
    return None if found is None else f"is {found[0]}, not a table; {found[1]}"


def _kind(data: bytes) -> tuple[str, str] | None:
    if data.startswith(b"PK\x03\x04"):
        return _zip(data)
    for magic, offset, what, remedy in _KINDS:
        if data.startswith(magic, offset):
            return what, remedy
    if sound := sniff.name_format(data[:4096]):
        return f"a sound ({sound})", f"{_LIST_THEM}; to classify it, run 'audiocnn predict'"
    beginning = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next(((what, remedy) for starts, what, remedy in _TEXTS if beginning.startswith(starts)), None)


def _zip(data: bytes) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError):
        names = []
    if data[30:].startswith(b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet"):
        return "an OpenDocument spreadsheet", _SAVE_AS_CSV
    found = next(((what, remedy) for name, what, remedy in _IN_ZIP if name in names), None)
    return found or ("a ZIP archive", "unpack it, and pass the folder or the CSV in it")
