//! The certificate that the configuration names: its time, and whether it is the one that is shown.

use super::finding::Finding;
use super::ids;
use crate::config::{SOON_DAYS, Settings};
use crate::pem;
use crate::probe::Course;
use crate::regular_file;
use crate::wire::Certificate;
use std::time::SystemTime;

const RENEW: &str = "sudo certbot renew   # or have the file made anew; then: moorline reload";

/// What is wrong with the files alone.
pub(super) fn check(settings: &Settings, found: &mut Vec<Finding>) {
    if let Err(failure) = settings.identity() {
        let finding = Finding::new(ids::TLS_FILE_UNUSABLE, failure.to_string());
        return found.push(finding.fix("moorline check-config"));
    }
    let Some((path, der)) = own(settings) else { return };
    let Some(certificate) = Certificate::parse(&der) else { return };
    let days = certificate.days_left(SystemTime::now());
    let about = format!("{path}, for {}: {days} days left", certificate.names.join(" "));
    found.push(match days < i64::from(SOON_DAYS) {
        true => Finding::new(ids::TLS_FILE_EXPIRES_SOON, about).fix(RENEW),
        false => Finding::new(ids::TLS_FILE_OK, about),
    });
}

/// Whether the gateway shows what stands in the file.
pub(super) fn compare(settings: &Settings, course: &Course) -> Option<Finding> {
    let (path, der) = own(settings)?;
    let shown = course.shown.as_ref()?;
    (*shown != der).then(|| {
        let about = format!("the gateway shows another certificate than that of {path}");
        Finding::new(ids::TLS_FILE_NOT_SHOWN, about).fix("moorline reload")
    })
}

/// The file, and its first certificate.
fn own(settings: &Settings) -> Option<(String, Vec<u8>)> {
    let path = settings.tls_cert.as_ref()?;
    let chain = pem::certificates(&regular_file::read(path, pem::MOST).ok()?).ok()?;
    Some((path.display().to_string(), chain.first()?.to_vec()))
}
