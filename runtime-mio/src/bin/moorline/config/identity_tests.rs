//! Certificates and keys in files, good and bad.

use super::*;
use base64::Engine as _;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder with a certificate and its key, removed when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("moorline-identity-{}-{count}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder.0).expect("a folder");
        folder
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
        path
    }

    fn read(&self, cert: &str, key: &str) -> Result<Identity, String> {
        let (cert, key) = (self.put("cert.pem", cert), self.put("key.pem", key));
        Identity::read(&cert, &key, SystemTime::now())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// A certificate and its key.
fn issue(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(["localhost".to_string()]).expect("a name");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
}

#[test]
fn a_chain_and_its_key_are_read_from_two_files_or_one() {
    let folder = Folder::new();
    let ((cert, key), (issuer, _)) = (issue(|_| {}), issue(|_| {}));
    let identity = folder.read(&format!("{cert}{issuer}"), &key).expect("both");
    assert_eq!(identity.certified.cert.len(), 2);
    assert_eq!(identity.warnings, [""; 0]);
    assert_eq!(identity.names, ["localhost"]);
    assert_eq!(identity.fingerprint.len(), 8);
    let both = folder.put("both.pem", &format!("{key}{cert}"));
    let one = Identity::read(&both, &both, SystemTime::now()).expect("one file");
    assert_eq!(one.fingerprint, identity.fingerprint);
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_name() {
    let folder = Folder::new();
    let ((cert, key), (other, other_key)) = (issue(|_| {}), issue(|_| {}));
    let cut = &cert[..cert.len() / 2];
    let encrypted = pem("ENCRYPTED PRIVATE KEY", b"whatever");
    let older = format!(
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n{}",
        "AAAA\n-----END RSA PRIVATE KEY-----\n"
    );
    let broken = pem("CERTIFICATE", b"no certificate");
    for (cert, key, file, what) in [
        ("", &*key, "cert.pem", "is empty"),
        ("\n", &key, "cert.pem", "is empty"),
        ("hello", &key, "cert.pem", "no certificate"),
        (&key, &key, "cert.pem", "no certificate"),
        (cut, &key, "cert.pem", "END CERTIFICATE is missing"),
        (&broken, &key, "cert.pem", "damaged"),
        (&cert, "", "key.pem", "is empty"),
        (&cert, &cert, "key.pem", "no private key"),
        (&cert, &encrypted, "key.pem", "is encrypted"),
        (&cert, &older, "key.pem", "is encrypted"),
        (&cert, &pem("PRIVATE KEY", b"no key"), "key.pem", "not supported"),
        (
            &cert,
            "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n",
            "key.pem",
            "base64",
        ),
        (&cert, &other_key, "key.pem", "does not fit the certificate in"),
        (&format!("{other}{cert}"), &key, "key.pem", "fits certificate 2 of"),
    ] {
        let said = folder.read(cert, key).expect_err(what);
        assert!(said.contains(what) && said.contains(file), "{said}");
        // Neither a key nor anything else of the files is repeated.
        assert!(!said.contains("MI"), "{said}");
    }
    let nowhere = folder.0.join("nowhere");
    let said = Identity::read(&nowhere, &nowhere, SystemTime::now()).expect_err("no file");
    assert!(said.starts_with(&format!("cannot read {}: ", nowhere.display())), "{said}");
}

#[test]
fn a_certificate_at_the_end_of_its_time_is_a_warning() {
    let folder = Folder::new();
    let warnings = |cert: &(String, String)| folder.read(&cert.0, &cert.1).expect("good").warnings;
    let expired = warnings(&issue(|params| params.not_after = date_time_ymd(2020, 1, 2)));
    assert!(expired[0].contains("has expired (Thu, 02 Jan 2020 00:00:00 GMT)"), "{expired:?}");
    let early = warnings(&issue(|params| params.not_before = date_time_ymd(3000, 1, 1)));
    assert!(early[0].contains("is not valid yet (Wed, 01 Jan 3000"), "{early:?}");

    let (cert, key) = issue(|params| params.not_after = date_time_ymd(2030, 1, 15));
    let (cert, key) = (folder.put("cert.pem", &cert), folder.put("key.pem", &key));
    // 2029-12-25, and a second after that.
    let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    let read = |now| Identity::read(&cert, &key, now).expect("good").warnings;
    assert_eq!(read(at(1_892_851_200)), [""; 0], "three weeks before");
    let soon = read(at(1_892_851_201));
    assert!(soon[0].contains("expires soon (Tue, 15 Jan 2030 00:00:00 GMT)"), "{soon:?}");
}

#[test]
fn a_key_that_others_can_read_is_a_warning() {
    let folder = Folder::new();
    let (cert, key) = issue(|_| {});
    assert_eq!(folder.read(&cert, &key).expect("good").warnings, [""; 0]);
    let (cert, key) = (folder.0.join("cert.pem"), folder.0.join("key.pem"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    let warnings = Identity::read(&cert, &key, SystemTime::now()).expect("good").warnings;
    assert!(warnings[0].contains("key.pem") && warnings[0].contains("chmod 600"), "{warnings:?}");
}

#[test]
fn keys_of_every_kind_and_form_that_openssl_writes_are_read() {
    let folder = Folder::new();
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(&folder.0).output()
    };
    if openssl("version").is_err() {
        return println!("there is no openssl here");
    }
    let request = "-subj /CN=a -days 30 -nodes -out cert.pem -keyout key.pem";
    for (kind, older) in [
        ("rsa:2048", Some("rsa -traditional")),
        ("ec -pkeyopt ec_paramgen_curve:P-256", Some("ec")),
        ("ec -pkeyopt ec_paramgen_curve:P-384", Some("ec")),
        ("ed25519", None),
    ] {
        let made = openssl(&format!("req -x509 -newkey {kind} {request}")).expect("openssl");
        assert!(made.status.success(), "{kind}: {}", String::from_utf8_lossy(&made.stderr));
        let (cert, key) = (folder.0.join("cert.pem"), folder.0.join("key.pem"));
        Identity::read(&cert, &key, SystemTime::now()).expect(kind);
        let Some(older) = older else { continue };
        let made = openssl(&format!("{older} -in key.pem -out older.pem")).expect("openssl");
        assert!(made.status.success(), "{kind}: {}", String::from_utf8_lossy(&made.stderr));
        let older = folder.0.join("older.pem");
        let text = std::fs::read_to_string(&older).expect("a key");
        assert!(text.contains("BEGIN RSA") || text.contains("BEGIN EC"), "{kind}");
        Identity::read(&cert, &older, SystemTime::now()).expect(kind);
    }
}
