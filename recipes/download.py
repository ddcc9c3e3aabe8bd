"""Download a data set into the layout that its reader expects.

    python -m recipes.download esc50 --to DIR             # 0.6 GB -> DIR/esc50
    python -m recipes.download tau2020 --to DIR           # 2020 Mobile, as in DCASE 2020 and 2021
    python -m recipes.download tau2020-3class --to DIR
    python -m recipes.download tau2022 --to DIR           # 2022 Mobile, as in DCASE 2022 to 2025

A call that was stopped, or whose connection broke, goes on in the middle of the file when called
again. Each archive is checked, unpacked and deleted before the next one comes, so that the disk
holds the data set once and not twice. A list of its files stays in `.unpacked`: an archive of which
one is gone is fetched again.

The TAU data sets lie at Zenodo; names, sizes and MD5 sums come from its record of the DOI. ESC-50's
official home is its repository at GitHub, which publishes no checksum: fetched is the archive of
one commit, held to a SHA-256 that users of that archive have published independently. GitHub does
not promise that it packs a commit to the same bytes for ever; should the sum change, clone the
repository instead. (The copy at Harvard Dataverse, doi:10.7910/DVN/YDEPUT, has another layout.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
from pooch.downloaders import DEFAULT_TIMEOUT, REQUESTS_HEADERS, doi_to_repository
from rich.console import Console
from rich.progress import DownloadColumn, TransferSpeedColumn

from compressor.commands.parser import Parser
from compressor.storage import write_bytes
from recipes.files.archive import missing, refuse_full_disk, unpack
from recipes.files.lock import locked
from recipes.files.progress import progress_bar
from recipes.files.resume import Resume
from recipes.running.command import STOPPED, leave, one_sentence_errors

ESC50_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
UNPACKED = 1.4
"""About how many bytes one byte of an archive becomes; wav files pack by a tenth to a third."""


@dataclass(frozen=True)
class Archive:
    """One file to fetch: where it is, what it must hash to ("md5:...", "sha256:..."), its bytes."""

    url: str
    checksum: str
    size: int

    def __post_init__(self) -> None:
        """Refuse what nothing could be held to."""
        if not re.fullmatch("(md5|sha256):[0-9a-f]{32,64}", self.checksum) or self.size < 1:
            raise ValueError(f"{self} has no checksum or no size.")


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Source of a data set, and its place on disk.

    Attributes:
        folder: Its folder below the one given.
        page: Page on which a person can download it.
        terms: Its licence in a sentence.
        doi: Record at Zenodo that lists its archives, where there is one.
        archives: Its archives by name, where there is no such record.
        top: Folder inside the archives that stands for `folder`.
    """

    folder: str
    page: str
    terms: str
    top: str
    doi: str | None = None
    archives: Mapping[str, Archive] | None = None


def _tau(record: int, name: str) -> DataSet:
    return DataSet(
        folder=name,
        page=f"https://zenodo.org/records/{record}",
        terms="For academic use; any commercial use is prohibited.",
        top=name,
        doi=f"10.5281/zenodo.{record}",
    )


DATA_SETS = {
    "esc50": DataSet(
        folder="esc50",
        page="https://github.com/karolpiczak/ESC-50",
        terms="CC BY-NC 3.0, with credits for every clip in its LICENSE.",
        top=f"ESC-50-{ESC50_COMMIT}",
        archives={
            f"ESC-50-{ESC50_COMMIT}.zip": Archive(
                url=f"https://github.com/karolpiczak/ESC-50/archive/{ESC50_COMMIT}.zip",
                checksum="sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
                size=645_832_161,
            )
        },
    ),
    "tau2020": _tau(3819968, "TAU-urban-acoustic-scenes-2020-mobile-development"),
    "tau2020-3class": _tau(3670185, "TAU-urban-acoustic-scenes-2020-3class-development"),
    "tau2022": _tau(6337421, "TAU-urban-acoustic-scenes-2022-mobile-development"),
}


def fetch_data_set(data_set: DataSet, to: Path, console: Console | None = None) -> Path:
    """Fetch and unpack what is not there yet.

    Args:
        data_set: One of `DATA_SETS`.
        to: Folder that the data set's own folder appears in.
        console: Console on which progress is shown.

    Returns:
        The data set's folder, ready for its reader.

    Raises:
        ConnectionError: If a server cannot be reached or breaks off too often; what came is kept.
        OSError: If the disk is too full, or another download to this folder is running.
        ValueError: If an archive has not its checksum, or would write outside the folder.
    """
    console = console or Console(stderr=True)
    folder = to / data_set.folder
    store = to / f"{data_set.folder}.download"
    with locked(store / "lock", f"downloads to {store}"):
        archives = data_set.archives or _archives_of(data_set, store)
        left = _left(folder, archives, console)
        for name in archives.keys() - left.keys():  # unpacked by a call that was killed then
            (store / name).unlink(missing_ok=True)
        _announce(data_set, left, len(archives), folder, store, console)
        for name, archive in left.items():
            file = _fetch(data_set, name, archive, store, console)
            files = unpack(file, folder, top=data_set.top)
            write_bytes(_marker(folder, name, archive), json.dumps(files).encode())
            file.unlink()
    return folder


def _left(folder: Path, archives: Mapping[str, Archive], console: Console) -> dict[str, Archive]:
    """The archives that were not unpacked here, or whose files are not all there any more."""
    files = {name: _listed(_marker(folder, name, archive)) for name, archive in archives.items()}
    gone = {*missing(folder, [file for listed in files.values() for file in listed])}
    for name, listed in files.items():
        if lost := len(gone.intersection(listed)):
            console.print(
                f"{lost} of {len(listed)} files of {name} are gone from {folder}: it is fetched "
                "again.",
                soft_wrap=True,
            )
    return {
        name: archive
        for name, archive in archives.items()
        if not files[name] or gone.intersection(files[name])
    }


def _marker(folder: Path, name: str, archive: Archive) -> Path:
    """Lists the files of an archive that was unpacked whole; it goes where the data set goes."""
    return folder / ".unpacked" / f"{name}.{archive.checksum.replace(':', '-')}"


def _listed(marker: Path) -> list[str]:
    """The files that a marker lists; none if it is not there or damaged."""
    try:
        return json.loads(marker.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []


def _archives_of(data_set: DataSet, store: Path) -> dict[str, Archive]:
    """Archives that the DOI's record at Zenodo lists."""
    try:
        return _recorded(str(data_set.doi), store)
    # An answer of another kind may fail anywhere.
    except (requests.RequestException, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _unreachable(data_set, store, f"The record of doi:{data_set.doi}", error) from error


def _recorded(doi: str, store: Path) -> dict[str, Archive]:
    listed = pooch.create(store, base_url=f"doi:{doi}/")
    repository = doi_to_repository(doi, headers=REQUESTS_HEADERS, timeout=DEFAULT_TIMEOUT)
    repository.populate_registry(listed)
    sizes = {
        item.get("key", item.get("filename")): item.get("size", item.get("filesize"))
        for item in repository.api_response["files"]
    }
    archives = {
        name: Archive(repository.download_url(name), checksum, sizes[name])
        for name, checksum in listed.registry.items()
        if name.endswith(".zip") and Path(name).name == name
    }
    if not archives:
        raise ValueError(f"it lists {len(sizes)} files and no zip archive among them")
    return archives


def _unreachable(data_set: DataSet, store: Path, what: str, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"{what} could not be read ({type(error).__name__}: {error}). Call again when the network "
        f"is open: what came already is kept in {store}. Or download the archives from "
        f"{data_set.page} by hand and unpack them so that {store.parent / data_set.folder} holds "
        f"what they hold in {data_set.top}."
    )


def _announce(
    data_set: DataSet,
    left: Mapping[str, Archive],
    count: int,
    folder: Path,
    store: Path,
    console: Console,
) -> None:
    if not left:
        console.print(
            f"{folder} is complete: all {count} archives were unpacked before.", soft_wrap=True
        )
        return
    largest = max(archive.size for archive in left.values())
    here = sum(path.stat().st_size for path in store.glob("*.zip*"))
    coming = sum(archive.size for archive in left.values())
    console.print(
        f"{len(left)} of {count} archives to fetch, {coming / 1e9:.2f} GB, to {folder}. "
        f"Licence: {data_set.terms}",
        soft_wrap=True,
    )
    refuse_full_disk(
        store, round(UNPACKED * coming) + largest - here, f"{len(left)} archives, unpacked"
    )


def _fetch(data_set: DataSet, name: str, archive: Archive, store: Path, console: Console) -> Path:
    """One archive, whole and checked; one that is there already with its checksum is taken.

    It has another name until it is checked, so that a call that is killed meanwhile loses nothing.
    """
    file, part = store / name, store / f"{name}.part"
    if file.is_file() and _checksum(file, archive) == archive.checksum:
        return file
    resumed = part.is_file()
    with progress_bar(console, DownloadColumn(), TransferSpeedColumn()) as bar:
        task = bar.add_task(name, total=archive.size)
        try:
            Resume(part, archive.size, bar, task).fetch(archive.url)
        except requests.RequestException as error:
            raise _unreachable(data_set, store, archive.url, error) from error
        except ValueError as error:
            raise _unpublished(data_set, name, archive, str(error)) from error
    found = _checksum(part, archive)
    if found == archive.checksum:
        return part.replace(file)
    part.unlink()
    if resumed:  # perhaps of another file; the next is not
        return _fetch(data_set, name, archive, store, console)
    raise _unpublished(data_set, name, archive, f"expected {archive.checksum} but got {found}.")


def _checksum(file: Path, archive: Archive) -> str:
    kind = archive.checksum.partition(":")[0]
    return f"{kind}:{pooch.file_hash(str(file), alg=kind)}"


def _unpublished(data_set: DataSet, name: str, archive: Archive, why: str) -> ValueError:
    return ValueError(
        f"{name} from {archive.url} is not the file that was published: {why} Call again; if that "
        f"does not help, download it from {data_set.page} by hand."
    )


def main() -> None:
    """Command line."""
    parser = Parser(description=str(__doc__).splitlines()[0])
    parser.add_argument("data_set", choices=DATA_SETS)
    parser.add_argument("--to", type=Path, required=True, help="folder for the data set's folder")
    options = parser.parse_args()
    try:
        with one_sentence_errors("cpu"):
            folder = fetch_data_set(DATA_SETS[options.data_set], options.to)
    except KeyboardInterrupt:
        leave("Stopped. Call again to go on.", STOPPED)
    print(folder)


if __name__ == "__main__":
    main()
