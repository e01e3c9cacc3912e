//! Completions and manual pages, made from the command line's own definition.

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::failure::Failure;
use crate::stdout::stdout;
use clap::CommandFactory as _;
use clap_mangen::Man;
use std::io::Write as _;

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "moorline", &mut text);
    print(&text)
}

pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    if let Some(dir) = &args.dir {
        return clap_mangen::generate_to(Cli::command(), dir).map_err(|error| {
            Failure::Runtime(format!("cannot write to {}: {error}", dir.display()))
        });
    }
    let mut text = Vec::new();
    Man::new(Cli::command()).render(&mut text)?;
    print(&text)
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = stdout();
    out.write_all(text)?;
    Ok(out.flush()?)
}
