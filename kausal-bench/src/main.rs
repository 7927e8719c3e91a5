//! `kausal-bench arena|index [OPTIONS]`: measures, prints, writes. `cargo xtask bench` builds it with the peers.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::process::ExitCode;

use kausal_bench::options::Options;
use kausal_bench::row::Row;
use kausal_bench::{index, table};
use lexopt::prelude::*;

const HELP: &str = "\
Usage: kausal-bench arena|index [OPTIONS]

  --quick          fewer samples of smaller sizes
  --only WORKLOAD  only workloads whose name contains this; may be repeated
  --subject NAME   index: only subjects whose name contains this; may be repeated
  --entries N      index: this many entries instead of the usual two sizes
  --rounds N       samples per subject
  --seed N         what keys and patterns are drawn from
  --json FILE      the rows, as described in kausal-bench/README.md
  --markdown FILE  the record: machine, revision, settings, both sides of every ratio
  --plot FILE      index: the growth as SVG
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kausal-bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut parser = lexopt::Parser::from_env();
    let Some(Value(name)) = parser.next()? else {
        print!("{HELP}");
        return Ok(());
    };
    match name.to_str() {
        Some("index") => {
            let options = Options::parse(parser)?;
            let rows = index::run(&options)?;
            if let Some(path) = &options.plot {
                index::plot::draw(&rows, path)?;
            }
            publish(&options, &rows)
        }
        _ => Err(format!("there is no benchmark `{}`\n\n{HELP}", name.display()).into()),
    }
}

fn publish(options: &Options, rows: &[Row]) -> Result<(), Box<dyn Error>> {
    print!("{}\n{}", table::shown(rows), table::verdict(rows));
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(rows)? + "\n")?;
    }
    Ok(())
}
