//! The socket of the state folder that the host's own command line talks to the running gateway by. Who
//! may open the file may do everything: its permissions are the credential.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Its name in the state folder.
const NAME: &str = "admin.sock";

/// Connections that wait to be accepted: commands of people and scripts.
const BACKLOG: i32 = 64;

/// Bytes of a path that the system takes: `sun_path` has 108, one of which ends it (unix(7)).
const PATH_MAX: usize = 107;

/// Where it is in this state folder.
pub(crate) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

/// The socket of a running gateway. The file is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    path: PathBuf,
}

impl AdminSocket {
    /// Binds it. To be called by whoever has the lock of the state folder: a file that is there was left
    /// by a gateway that is no more.
    pub(crate) fn bind(state_dir: &Path) -> io::Result<(Self, UnixListener)> {
        let path = path(state_dir);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => return Err(io::Error::other("something else stands there")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let short = Short::of(state_dir)?;
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(&short.path)?)?;
        let socket = || -> io::Result<_> {
            // Nobody can connect before it listens, and then its own user alone.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            socket.listen(BACKLOG)?;
            Ok(socket)
        };
        let bound = Self { path: path.clone() };
        Ok((bound, socket()?.into()))
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // It is ours: the lock is released after this.
        let _ = fs::remove_file(&self.path);
    }
}

/// Connects to the gateway that has this state folder.
pub(crate) fn connect(state_dir: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(Short::of(state_dir)?.path)
}

/// A path to the socket that the system takes, however deep the folder is.
struct Short {
    path: PathBuf,
    /// What the path goes through.
    _folder: Option<File>,
}

impl Short {
    fn of(state_dir: &Path) -> io::Result<Self> {
        let path = path(state_dir);
        if path.as_os_str().as_bytes().len() <= PATH_MAX {
            return Ok(Self { path, _folder: None });
        }
        let folder = File::open(state_dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()));
        Ok(Self { path, _folder: Some(folder) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    /// A folder whose path has this many bytes at least, removed when dropped.
    struct Folder(PathBuf, PathBuf);

    impl Folder {
        fn new(name: &str, length: usize) -> Self {
            let top = format!("moorline-admin-{name}-{}", std::process::id());
            let top = std::env::temp_dir().join(top);
            let mut path = top.clone();
            while path.as_os_str().len() < length {
                path.push("a-folder-below");
            }
            fs::create_dir_all(&path).expect("a folder");
            Self(top, path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_folder_may_be_deeper_than_a_socket_may_and_the_file_is_its_users_alone() {
        for length in [1, 90, 200, 1000] {
            let Folder(_, folder) = &Folder::new("deep", length);
            let (bound, listener) = AdminSocket::bind(folder).expect("bound");
            let mode = fs::metadata(path(folder)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{length}");
            let mut client = connect(folder).expect("connected");
            let (mut server, _) = listener.accept().expect("accepted");
            client.write_all(b"x").expect("written");
            server.read_exact(&mut [0]).expect("read");
            drop(bound);
            assert!(!path(folder).exists(), "{length}");
            assert_eq!(connect(folder).expect_err("gone").kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn what_a_killed_gateway_left_is_in_nobodys_way_and_what_is_no_socket_stays() {
        let folder = Folder::new("stale", 1);
        let (bound, listener) = AdminSocket::bind(&folder.1).expect("bound");
        std::mem::forget(bound);
        drop(listener);
        assert_eq!(
            connect(&folder.1).expect_err("nobody listens").kind(),
            io::ErrorKind::ConnectionRefused
        );
        drop(AdminSocket::bind(&folder.1).expect("bound again"));
        fs::write(path(&folder.1), "mine").expect("a file");
        AdminSocket::bind(&folder.1).expect_err("it is somebody's");
        assert_eq!(fs::read_to_string(path(&folder.1)).expect("still there"), "mine");
    }
}
