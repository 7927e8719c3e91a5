//! `kausal-bench [arena|cache|counts|get|index|memtable|peers|table] [OPTIONS]`: measures, prints, writes. `cargo xtask bench` builds it with the peers.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::process::ExitCode;

use kausal_bench::arena::{self, child};
use kausal_bench::options::Options;
use kausal_bench::row::Row;
use kausal_bench::{cache, get, hot_paths, index, memtable, peers, record, regression, report, table, text};

const HELP: &str = "\
Usage: kausal-bench [arena|cache|counts|get|index|memtable|peers|table] [OPTIONS]
       kausal-bench record --from FILE [--from FILE] [--markdown FILE]

  --quick          fewer samples of smaller sizes
  --only WORKLOAD  only workloads whose name contains this; may be repeated
  --subject NAME   cache, index, memtable, peers, table: only subjects whose name contains this; may be repeated
  --entries N      index, peers, table: this many entries instead of the usual sizes
  --vs NAME,NAME   peers: only these; may be repeated
  --rounds N       samples per subject
  --seed N         what keys and patterns are drawn from
  --json FILE      the rows, as described in kausal-bench/README.md
  --markdown FILE  the record: machine, revision, settings, both sides of every ratio
  --plot FILE      index: the growth as SVG
  --html FILE      the record with plots, in one file that needs no other
  --compare FILE   which ratios are worse than in these rows of an earlier run
  --from FILE      record: rows that --json wrote, instead of measuring
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_name = arguments.first().is_some_and(|first| !first.starts_with('-'));
    let (name, rest) =
        if is_name { (arguments[0].as_str(), &arguments[1..]) } else { ("all", &arguments[..]) };
    if name == "help" || rest.iter().any(|argument| argument == "--help") {
        print!("{HELP}");
        return Ok(());
    }
    if name == "child" {
        return child::run(rest).ok_or_else(|| "no such mode of a child, or no memory for it".into());
    }
    if name == "peer" {
        return peers::child::run(rest);
    }
    let options = Options::parse(lexopt::Parser::from_args(rest))?;
    let mut rows = Vec::new();
    match name {
        "arena" => rows.extend(arena::run(&options)),
        "cache" => rows.extend(cache::run(&options)),
        "counts" => rows.extend(hot_paths::run(&options)),
        "get" => rows.extend(get::run(&options)?),
        "index" => rows.extend(index::run(&options)?),
        "memtable" => rows.extend(memtable::run(&options)),
        "peers" => rows.extend(peers::run(&options)?),
        "table" => rows.extend(table::run(&options)?),
        "all" => {
            rows.extend(arena::run(&options));
            rows.extend(cache::run(&options));
            rows.extend(get::run(&options)?);
            rows.extend(index::run(&options)?);
            rows.extend(memtable::run(&options));
            rows.extend(table::run(&options)?);
        }
        "record" => {
            for path in &options.from {
                rows.extend(serde_json::from_slice::<Vec<Row>>(&fs::read(path)?)?);
            }
            index::targets::judge(&mut rows);
            table::targets::judge(&mut rows);
            peers::compare::judge(&mut rows);
        }
        _ => return Err(format!("there is no benchmark `{name}`\n\n{HELP}").into()),
    }
    let command = format!("cargo xtask bench {}", arguments.join(" "));
    publish(name, command.trim(), &options, &rows)
}

fn publish(name: &str, command: &str, options: &Options, rows: &[Row]) -> Result<(), Box<dyn Error>> {
    print!("{}\n{}", text::shown(rows), text::verdict(rows));
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(rows)? + "\n")?;
    }
    if let Some(path) = &options.markdown {
        fs::write(path, record::shown(&format!("Benchmark record: {name}"), command, options, rows))?;
    }
    if let Some(path) = &options.plot {
        fs::write(path, index::plot::drawn(rows)?)?;
    }
    if let Some(path) = &options.html {
        let title = format!("Benchmark record: {name}");
        fs::write(path, report::page(&title, &record::shown(&title, command, options, rows), rows)?)?;
    }
    if let Some(path) = &options.compare {
        let before: Vec<Row> = serde_json::from_slice(&fs::read(path)?)?;
        print!("{}", regression::shown(&before, rows));
    }
    Ok(())
}
