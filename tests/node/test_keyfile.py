from __future__ import annotations

import re
from pathlib import Path

import pytest

from node.storage.keyfile import KeyFileError, Purpose, create_key, load_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identity.key"


def test_a_key_is_the_same_after_loading(path: Path) -> None:
    made = create_key(path, Purpose.IDENTITY)
    assert load_key(path, Purpose.IDENTITY).seed == made.seed


def test_only_the_owner_may_read_a_new_key(path: Path) -> None:
    create_key(path, Purpose.IDENTITY)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_existing_key_is_never_replaced(path: Path) -> None:
    before = create_key(path, Purpose.IDENTITY)
    with pytest.raises(KeyFileError, match="exists already"):
        create_key(path, Purpose.IDENTITY)
    assert load_key(path, Purpose.IDENTITY).seed == before.seed


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused_with_the_command_to_type(
    path: Path, mode: int
) -> None:
    create_key(path, Purpose.IDENTITY)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=re.escape(f"chmod 600 {path}")):
        load_key(path, Purpose.IDENTITY)


def test_a_missing_key_is_named_with_the_next_step(path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"identity\.key is missing.*bizra-node init"):
        load_key(path, Purpose.IDENTITY)


def test_a_key_for_another_purpose_is_refused(path: Path) -> None:
    create_key(path, Purpose.VOTING)
    with pytest.raises(KeyFileError, match="kind 'voting' where 'identity' is needed"):
        load_key(path, Purpose.IDENTITY)


def test_every_flipped_bit_in_the_keys_is_noticed(path: Path) -> None:
    create_key(path, Purpose.IDENTITY)
    whole = path.read_bytes()
    for at in range(whole.index(b"public: "), len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(KeyFileError, match="damaged"):
            load_key(path, Purpose.IDENTITY)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 32, b"-----BEGIN PRIVATE KEY-----\n", b"x" * 100_000]
)
def test_a_foreign_file_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="no key file of bizra-node"):
        load_key(path, Purpose.IDENTITY)
    assert path.read_bytes() == content


def test_a_folder_or_pipe_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        load_key(tmp_path, Purpose.IDENTITY)


def test_no_error_and_no_representation_shows_the_seed(path: Path) -> None:
    signer = create_key(path, Purpose.IDENTITY)
    path.write_bytes(path.read_bytes().replace(b"public: ", b"public: 0"))
    with pytest.raises(KeyFileError) as caught:
        load_key(path, Purpose.IDENTITY)
    assert signer.seed.hex() not in repr(signer) + str(caught.value)
