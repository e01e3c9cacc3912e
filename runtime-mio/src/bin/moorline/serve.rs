use crate::cli::ServeArgs;
use crate::failure::Failure;
pub(crate) fn run(_args: ServeArgs) -> Result<(), Failure> {
    Ok(())
}
