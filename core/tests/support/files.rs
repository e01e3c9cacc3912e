//! The folder of a site, as the gateway's tests have one.

use moorline_core::gateway::{FileVersion, SiteOutcome, SiteWork};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What the folder does with work.
#[derive(Debug, Copy, Clone, PartialEq, Default)]
pub enum FilesMode {
    #[default]
    Works,
    /// Each piece of work takes so long.
    Slow(Duration),
    Fails,
    Hangs,
}

#[derive(Debug, Default)]
pub struct Files {
    pub mode: FilesMode,
    /// Content, and when it was written.
    pub files: BTreeMap<String, (Vec<u8>, u64)>,
    /// The names that were looked for, and where files were read on.
    pub asked: Vec<String>,
}

impl Files {
    pub fn put(&mut self, name: &str, content: &[u8]) {
        self.files.insert(name.into(), (content.into(), 0x10));
    }

    pub fn execute(&mut self, work: SiteWork) -> SiteOutcome {
        if self.mode == FilesMode::Fails {
            return SiteOutcome::Failed;
        }
        match work {
            SiteWork::Find { root, names, most } => {
                assert_eq!(*root, *Path::new("/ui"));
                self.asked.extend(names.iter().map(|name| name.to_string()));
                let found = names.iter().enumerate().find_map(|(at, name)| {
                    self.files.get(&**name).map(|(content, modified)| (at, content, *modified))
                });
                let Some((at, content, modified)) = found else { return SiteOutcome::Absent };
                let version = FileVersion { size: content.len() as u64, modified };
                let bytes = content[..content.len().min(most)].to_vec();
                SiteOutcome::Found { at, version, bytes }
            }
            SiteWork::Read { name, version, from, most, .. } => {
                self.asked.push(format!("{name} {from}"));
                match self.files.get(&*name) {
                    Some((content, modified))
                        if version.size == content.len() as u64
                            && version.modified == *modified =>
                    {
                        let rest = &content[from as usize..];
                        SiteOutcome::Piece(rest[..rest.len().min(most)].to_vec())
                    }
                    _ => SiteOutcome::Failed,
                }
            }
        }
    }
}
