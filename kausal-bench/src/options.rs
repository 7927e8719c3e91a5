//! The command line: which benchmark, how much of it, where results go.

use std::path::PathBuf;

use lexopt::prelude::*;

/// Which samples are drawn unless `--seed` says otherwise.
const SEED: u64 = 0x5EED;

/// What a run is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Fewer samples of smaller sizes.
    pub quick: bool,
    /// Where rows go as JSON.
    pub json: Option<PathBuf>,
    /// Where the record goes as Markdown.
    pub markdown: Option<PathBuf>,
    /// Where the growth goes as SVG (`index` only).
    pub plot: Option<PathBuf>,
    /// Where the record goes as HTML, with plots.
    pub html: Option<PathBuf>,
    /// Rows of an earlier run, to be compared with these.
    pub compare: Option<PathBuf>,
    /// Parts of workload names; none means all.
    pub only: Vec<String>,
    /// Parts of subject names; none means all (`cache`, `index`, `memtable`, `table` and `peers`).
    pub subjects: Vec<String>,
    /// Names of peers; none means all that are built in (`peers` only).
    pub vs: Vec<String>,
    /// Rows of earlier runs, to be shown or recorded together (`record` only).
    pub from: Vec<PathBuf>,
    /// Samples per subject.
    pub rounds: Option<usize>,
    /// Entries of the key sets, or of the table (`index`, `table` and `peers`).
    pub entries: Option<usize>,
    /// What keys and patterns are drawn from.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            quick: false,
            json: None,
            markdown: None,
            plot: None,
            html: None,
            compare: None,
            only: Vec::new(),
            subjects: Vec::new(),
            vs: Vec::new(),
            from: Vec::new(),
            rounds: None,
            entries: None,
            seed: SEED,
        }
    }
}

impl Options {
    /// Reads what follows the name of the benchmark.
    ///
    /// # Errors
    ///
    /// [`lexopt::Error`] for what is not an option, or has no value.
    pub fn parse(mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let mut options = Self::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("quick") => options.quick = true,
                Long("json") => options.json = Some(parser.value()?.into()),
                Long("markdown") => options.markdown = Some(parser.value()?.into()),
                Long("plot") => options.plot = Some(parser.value()?.into()),
                Long("html") => options.html = Some(parser.value()?.into()),
                Long("compare") => options.compare = Some(parser.value()?.into()),
                Long("only") => options.only.push(parser.value()?.string()?),
                Long("subject") => options.subjects.push(parser.value()?.string()?),
                Long("vs") => {
                    options.vs.extend(parser.value()?.string()?.split(',').map(str::to_owned));
                }
                Long("from") => options.from.push(parser.value()?.into()),
                Long("rounds") => options.rounds = Some(parser.value()?.parse::<usize>()?.max(1)),
                Long("entries") => options.entries = Some(parser.value()?.parse::<usize>()?.max(1000)),
                Long("seed") => options.seed = parser.value()?.parse()?,
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(options)
    }

    /// Whether `workload` is asked for: by a part of its name, or by whole parts between slashes.
    pub fn wants(&self, workload: &str) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|part| match part.contains('/') {
                true => format!("/{workload}/").contains(&format!("/{}/", part.trim_matches('/'))),
                false => workload.contains(part.as_str()),
            })
    }

    /// Whether `subject` is asked for.
    pub fn wants_subject(&self, subject: &str) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|part| subject.contains(part.as_str()))
    }

    /// Says on standard error what is being measured.
    pub fn progress(&self, workload: &str, subject: &str) {
        eprintln!("measuring {workload}: {subject}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, lexopt::Error> {
        Options::parse(lexopt::Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn a_workload_is_chosen_by_a_part_of_its_name() {
        let options = parse("--quick --only malloc --only reset --json out.json").expect("all of them exist");
        assert!(options.wants("malloc_table/16") && options.wants("reset") && !options.wants("sizes"));
        assert!(options.wants_subject("anything"));
        let options = parse("--only random_16/1000").expect("an option");
        assert!(options.wants("random_16/1000") && !options.wants("random_16/10000"));
        assert!(parse("--only allocate/").expect("an option").wants("allocate/16/1000"));
    }

    #[test]
    fn a_result_goes_where_it_is_told() {
        let options = parse("--quick --json out.json").expect("all of them exist");
        assert_eq!((options.quick, options.json), (true, Some("out.json".into())));
    }

    #[test]
    fn peers_are_named_between_commas_or_one_by_one() {
        let options = parse("--vs fjall,redb --vs heed").expect("an option");
        assert_eq!(options.vs, ["fjall", "redb", "heed"]);
    }

    #[test]
    fn what_is_no_option_is_refused() {
        assert!(parse("--fast").is_err() && parse("arena").is_err() && parse("--rounds many").is_err());
    }
}
