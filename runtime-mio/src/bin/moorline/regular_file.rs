//! Files that are read whole, such as configurations, secrets and certificates. Whatever else stands in the
//! place of one must not hang who reads it: a pipe that nobody writes into would, and a device has no end.

use rustix::fs::OFlags;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The bytes of a regular file, or of the one that a link leads to: `most` of them.
///
/// # Errors
/// It cannot be read, is no regular file, or holds more than `most` bytes, whatever its size says.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Nonblocking, it says nothing of regular files, and opening a pipe does not wait for its other end.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    // It may grow, and files of procfs have no size.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is longer than {most} bytes")));
    }
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
/// The same, and with [`io::ErrorKind::InvalidData`] where it is not UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8");
    String::from_utf8(read(path, most)?).map_err(not_text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A folder for one test.
    fn folder(name: &str) -> PathBuf {
        let name = format!("moorline-regular-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    #[test]
    fn a_file_is_read_by_its_links_and_no_further_than_it_may_be_long() {
        let folder = folder("file");
        let (file, link) = (folder.join("file"), folder.join("link"));
        fs::write(&file, "text").expect("a file");
        symlink("file", &link).expect("a link");
        assert_eq!(read_text(&link, 4).expect("a text"), "text");
        let error = read(&file, 3).expect_err("too long").to_string();
        assert_eq!(error, "it is longer than 3 bytes");
        fs::write(&file, [0xFF]).expect("a file");
        let error = read_text(&file, 4).expect_err("no text");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // Its size is said to be 0.
        let endless = Path::new("/proc/self/smaps");
        assert_eq!(fs::metadata(endless).expect("procfs").len(), 0);
        assert!(read(endless, 10).is_err());
        fs::remove_dir_all(folder).expect("gone");
    }

    #[test]
    fn what_is_no_regular_file_is_an_error_at_once() {
        let folder = folder("others");
        let pipe = folder.join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("a pipe");
        for path in [&pipe, &folder, Path::new("/dev/zero")] {
            let error = read(path, 1 << 20).expect_err("no file").to_string();
            assert_eq!(error, "it is no regular file", "{}", path.display());
        }
        fs::remove_dir_all(folder).expect("gone");
    }
}
