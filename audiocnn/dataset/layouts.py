"""Public data sets and how to recognise them: one table, which `audiocnn.dataset.public_sets` reads.

Names of files and columns are those of the data sets' own documentation, which ``source`` of each layout names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Metadata:
    """A table with a row for each recording: CSV, or JSON lines.

    ``files`` are patterns for its path, ``audio`` are templates for the path of a recording, relative to the folder of
    the data set. In braces are columns of the table, or ``{folder}``, the folder of the table. Recordings of the table
    are in the part ``split``, if it is given.
    """

    files: tuple[str, ...]
    audio: tuple[str, ...]
    split: str | None = None


@dataclass(frozen=True)
class Layout:
    """A data set: where its labels, groups and parts are, and what a user of it has to know.

    It has ``tables``, of which the first is required, or file ``names``: a regular expression for the path of a
    recording, with named groups. ``label``, ``group`` (the first that there is), ``fold`` and ``secondary`` (labels
    that are not used) are columns of the tables, or named groups. A recording with several labels, with ``separator``
    between them, is left out. ``lists`` are files with the paths of validation and test recordings; others are for
    training. ``split_folders`` takes the split from the names of folders. ``other`` is why audio that the metadata does
    not name is not used. ``faulty`` are files that the documentation calls faulty. ``refused`` is why the data set
    cannot be used.
    """

    name: str
    recognised_by: str
    source: str
    label: str = ""
    group: tuple[str, ...] = ()
    fold: str | None = None
    secondary: str | None = None
    separator: str = ""
    tables: tuple[Metadata, ...] = ()
    names: str = ""
    lists: Mapping[str, str] = field(default_factory=dict)
    split_folders: bool = False
    licence: str = ""
    citation: str = ""
    other: str = "is not named by the metadata"
    faulty: frozenset[str] = frozenset()
    refused: str = ""

    @property
    def split(self) -> str:
        """Where the official split comes from; empty if there is none."""
        parts = list(dict.fromkeys(table.split for table in self.tables if table.split))
        tables = f"tables of {' and '.join(parts)}" if parts else ""
        return " and ".join(self.lists.values()) or tables or ("folders" if self.split_folders else "")

    @property
    def about(self) -> str:
        """Name, source, licence and citation, for the model card."""
        sentences = (f"{self.name} ({self.source}).", self.licence and f"Licence: {self.licence}.", self.citation)
        return " ".join(filter(None, sentences)) if self.licence else ""


_SEVERAL_LABELS = "a recording has several labels, and a classifier here gives one; write a manifest of those with one"

LAYOUTS = (
    Layout(
        name="ESC-50",
        recognised_by="meta/esc50.csv",
        source="https://github.com/karolpiczak/ESC-50",  # README, "Repository content"; loader of soundata
        tables=(Metadata(("meta/esc50.csv",), ("audio/{filename}",)),),
        label="category",
        group=("src_file",),
        fold="fold",
        licence="CC BY-NC 3.0; attribution of each clip in its LICENSE",
        citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015.",
    ),
    Layout(
        name="ESC-10",
        recognised_by="folders such as '001 - Dog bark' with files such as 1-100032-A.ogg",
        source="https://github.com/karolpiczak/ESC-10",  # README.txt, "File naming scheme"
        names=r"0\d\d - (?P<category>[^/]+)/(?P<fold>[1-5])-(?P<clip>\d+)-[A-Z]\.\w+",
        label="category",
        group=("clip",),
        fold="fold",
        licence="CC BY 3.0; attribution of each clip in its README.txt",
        citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015.",
        other="is not named as the recordings of ESC-10 are",
    ),
    Layout(
        name="UrbanSound8K",
        recognised_by="metadata/UrbanSound8K.csv",
        source="https://urbansounddataset.weebly.com/urbansound8k.html",  # its README; loader of soundata
        tables=(Metadata(("metadata/UrbanSound8K.csv",), ("audio/fold{fold}/{slice_file_name}",)),),
        label="class",
        group=("fsID",),
        fold="fold",
        licence="CC BY-NC 3.0; attribution in FREESOUNDCREDITS.txt",
        citation=(
            "J. Salamon, C. Jacoby and J. P. Bello, A Dataset and Taxonomy for Urban Sound Research, "
            "ACM Multimedia 2014."
        ),
    ),
    Layout(
        name="Speech Commands",
        recognised_by="validation_list.txt and testing_list.txt",
        source="https://arxiv.org/abs/1804.03209",  # README.md of the archive, "Organization" and "Partitioning"
        names=r"(?P<folder>(?!_background_noise_)[^/]+)/(?P<speaker>[^/_]+)_nohash_\d+\.wav",
        lists={"validation": "validation_list.txt", "test": "testing_list.txt"},
        label="folder",
        group=("speaker",),
        licence="CC BY 4.0",
        citation="P. Warden, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, arXiv:1804.03209.",
        other="is no spoken word, but background noise or the like",
    ),
    Layout(
        name="FSDKaggle2018",
        recognised_by="FSDKaggle2018.meta/train_post_competition.csv",
        source="https://doi.org/10.5281/zenodo.2552860",  # README.md, "Files"
        tables=(
            Metadata(
                ("FSDKaggle2018.meta/train_post_competition.csv", "train_post_competition.csv"),
                ("FSDKaggle2018.audio_train/{fname}", "audio_train/{fname}"),
                "train",
            ),
            Metadata(
                (
                    "FSDKaggle2018.meta/test_post_competition_scoring_clips.csv",
                    "test_post_competition_scoring_clips.csv",
                ),
                ("FSDKaggle2018.audio_test/{fname}", "audio_test/{fname}"),
                "test",
            ),
        ),
        label="label",
        group=("freesound_id",),
        licence="CC BY 4.0 as a whole; each clip has its own, in the column license",
        citation=(
            "E. Fonseca et al., General-purpose Tagging of Freesound Audio with AudioSet Labels, DCASE 2018. "
            "Labels of training clips with manually_verified 0 were not checked by a person."
        ),
    ),
    Layout(
        name="FSDKaggle2019",
        recognised_by="FSDKaggle2019.meta/train_curated_post_competition.csv",
        source="https://doi.org/10.5281/zenodo.3612637",  # README.md, "Files & Download"
        tables=(
            Metadata(
                ("FSDKaggle2019.meta/train_curated_post_competition.csv",),
                ("FSDKaggle2019.audio_train_curated/{fname}",),
                "train",
            ),
            Metadata(
                ("FSDKaggle2019.meta/train_noisy_post_competition.csv",),
                ("FSDKaggle2019.audio_train_noisy/{fname}",),
                "train",
            ),
            Metadata(("FSDKaggle2019.meta/test_post_competition.csv",), ("FSDKaggle2019.audio_test/{fname}",), "test"),
        ),
        label="labels",
        group=("freesound_id", "flickr_video_URL"),
        separator=",",
        licence="CC BY 4.0 as a whole; each clip has its own, in the column license",
        citation=(
            "E. Fonseca et al., Audio tagging with noisy labels and minimal supervision, DCASE 2019. "
            "Clips with several labels are left out."
        ),
        faulty=frozenset(  # "Detected corrupted files in the curated train set": five wrong labels, one without sound
            f"{name}.wav" for name in ("f76181c4", "77b925c2", "6a1f682a", "c7db12aa", "7752cc8a", "1d44b0bd")
        ),
    ),
    Layout(
        name="BirdCLEF",
        recognised_by="train_metadata.csv, or train.csv of 2025",
        source="https://www.kaggle.com/competitions/birdclef-2024/data",  # and those of 2021 to 2025
        tables=(
            Metadata(
                ("train_metadata.csv", "train.csv"),
                ("train_audio/{filename}", "train_short_audio/{primary_label}/{filename}"),
            ),
        ),
        label="primary_label",
        group=("author",),
        secondary="secondary_labels",
        licence="each recording has its own, in the column license",
        citation="Recordings of xeno-canto.org and others; cite BirdCLEF of the year, and the recordists.",
        other="is not named by the metadata, such as the soundscapes without labels",
    ),
    Layout(
        name="IRMAS",
        recognised_by="folders cel, cla, flu, ... with files such as 008__[cel][nod][cla]0058__1.wav",
        source="https://www.upf.edu/web/mtg/irmas",  # its README; loader of mirdata
        names=(
            r"(?:[^/]+/)?(?P<folder>cel|cla|flu|gac|gel|org|pia|sax|tru|vio|voi)/"
            r"(?:\d+__)?\[(?P=folder)\](?:\[[^]/]+\])*(?P<song>\d+)__\d+\.wav"
        ),
        label="folder",
        group=("song",),
        licence="CC BY-NC-SA 3.0",
        citation=(
            "J. J. Bosch, J. Janer, F. Fuhrmann and P. Herrera, A Comparison of Sound Segregation Techniques for "
            "Predominant Instrument Recognition in Musical Audio Signals, ISMIR 2012."
        ),
        other="is not named as the training excerpts of IRMAS are; those for testing may have several labels",
    ),
    Layout(
        name="Free Spoken Digit Dataset",
        recognised_by="recordings/ with files such as 7_jackson_32.wav",
        source="https://github.com/Jakobovski/free-spoken-digit-dataset",  # README.md, "Organization"
        names=r"recordings/(?P<digit>\d)_(?P<speaker>[^\W\d_]+)_\d+\.wav",
        label="digit",
        group=("speaker",),
        licence="CC BY-SA 4.0",
        citation="Z. Jackson et al., Free Spoken Digit Dataset, doi:10.5281/zenodo.1342401.",
        other="is not named as the recordings of this data set are",
    ),
    Layout(
        name="FSD50K",
        recognised_by="FSD50K.ground_truth/dev.csv",
        source="https://doi.org/10.5281/zenodo.4060432",  # loader of soundata
        tables=(Metadata(("FSD50K.ground_truth/dev.csv", "FSD50K.ground_truth/eval.csv"), ()),),
        refused=_SEVERAL_LABELS,
    ),
    Layout(
        name="AudioSet",
        recognised_by="balanced_train_segments.csv or eval_segments.csv",
        source="https://research.google.com/audioset/download.html",
        tables=(Metadata(("balanced_train_segments.csv", "unbalanced_train_segments.csv", "eval_segments.csv"), ()),),
        refused=_SEVERAL_LABELS,
    ),
    Layout(  # last, as its files may have any other columns
        name="Hugging Face AudioFolder",
        recognised_by="metadata.csv or metadata.jsonl with file_name and label",
        source="https://huggingface.co/docs/datasets/audio_dataset",
        tables=(
            Metadata(
                tuple(f"{where}metadata.{kind}" for where in ("", "*/", "data/*/") for kind in ("csv", "jsonl")),
                ("{folder}/{file_name}",),
            ),
        ),
        label="label",
        separator="\n",  # of a list in JSON
        split_folders=True,
    ),
)
