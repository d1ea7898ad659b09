//! Small words for making files in tests: reproducible random bytes, whole trees by path and content.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::FileExt},
    path::Path,
    time::Duration,
};

/// So many bytes that don't compress and never repeat; the same for the same seed.
pub fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Writes a file, and the directories above it where they are missing.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("directories");
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A small source tree: 20 directories with 25 files each, some hundred bytes to some KiB, one file of several chunks.
pub fn sources(root: &Path, seed: u64) {
    for dir in 0..20 {
        for file in 0..25 {
            let text =
                format!("// file {file} of directory {dir}, seed {seed}\n").repeat(1 + (dir * 7 + file * 3) % 90);
            write(root.join(format!("dir{dir:02}/file{file:02}.c")), text);
        }
    }
    write(root.join("large.bin"), random_bytes(seed, 6 << 20));
}

/// Changes one byte of a file in place.
pub fn flip_byte(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("the file to damage");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("the byte to damage");
    file.write_all_at(&[byte[0] ^ 0x40], offset).expect("damage");
}

/// Waits until a file changed now would be trusted: the cache doubts what changed less than two seconds before.
pub fn let_settle() {
    std::thread::sleep(Duration::from_secs(3));
}

/// Waits until the clock shows another second, so that the next backup is the newest and none lies in the future.
pub fn next_second() {
    std::thread::sleep(Duration::from_millis(1100));
}

/// Every path below a directory, relative to it; symlinks are not followed.
pub fn paths(root: &Path) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("an entry")) {
            if entry.file_type().expect("a type").is_dir() {
                open.push(entry.path());
            }
            let path = entry.path();
            found.insert(path.strip_prefix(root).expect("it lies below").as_os_str().as_bytes().to_vec());
        }
    }
    found
}

/// Every regular file below a directory with its size.
pub fn files(root: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("an entry")) {
            let meta = entry.metadata().expect("an entry's metadata");
            if meta.is_dir() {
                open.push(entry.path());
            } else if meta.is_file() {
                found.push((entry.path(), meta.len()));
            }
        }
    }
    found.sort();
    found
}
