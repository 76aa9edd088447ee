//! Where reports go.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::report::{Report, markdown, page, text};

/// Files beside the text on standard output.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Write the reports as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the reports as one offline page with charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    md: Option<PathBuf>,
}

impl Output {
    /// Prints `report`.
    pub(super) fn tell(report: &Report) {
        print!("{}", text(report));
    }

    /// Writes `reports` where they were asked for.
    pub(super) fn write(&self, reports: &[Report]) -> Result<(), String> {
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(reports).map_err(|error| error.to_string())?;
            write(path, &json)?;
        }
        if let Some(path) = &self.html {
            write(path, &page(reports))?;
        }
        if let Some(path) = &self.md {
            write(path, &reports.iter().map(markdown).collect::<String>())?;
        }
        let files: Vec<_> = [&self.json, &self.html, &self.md].into_iter().flatten().collect();
        if !files.is_empty() {
            println!();
        }
        for file in files {
            println!("wrote {}", file.display());
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
