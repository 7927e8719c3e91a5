//! Turns: threads of which one runs at a time, in an order that a seed decides.
//!
//! 1. The threads of a [gathering](super::SimScheduler::run_together) are those of the operating system, but only the one
//!    that has the turn runs. It passes the turn on where it waits, and where the engine lets others go first; nowhere
//!    else, so that the same seed makes the same order.
//! 2. Who waits in vain is *asleep*: others that wait pass it over until somebody did something that may have woken it.
//! 3. When all sleep, background jobs run. When there are none, the sleeper whose deadline is the earliest wakes.
//!
//! **Invariant:** the turn is passed where the thread that has it holds no lock that others block on: a thread that blocks
//! keeps the turn, and nobody runs.

use std::panic::resume_unwind;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::SimRandom;

/// What a thread of a gathering is to do.
type Task<'a> = Box<dyn FnOnce() + Send + 'a>;

/// What a thread of the gathering does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// It has the turn, or goes on when it gets it.
    Ready,
    /// It waits, and looked in vain; until this deadline if it has one.
    Asleep(Option<Duration>),
    Ended,
}

#[derive(Debug, Default)]
struct Gathering {
    /// The thread that has the turn. `None` between gatherings.
    turn: Option<usize>,
    threads: Vec<Doing>,
}

/// Who has the turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    gathering: Mutex<Gathering>,
    passed: Condvar,
}

impl Turns {
    /// Runs `tasks` in turns, each on a thread of its own.
    pub(super) fn run<'a>(&self, tasks: Vec<Task<'a>>, random: &SimRandom) {
        if tasks.is_empty() {
            return;
        }
        {
            let mut gathering = self.gathering.lock();
            assert_eq!(gathering.turn, None, "a gathering in a gathering");
            gathering.threads = vec![Doing::Ready; tasks.len()];
            gathering.turn = Some(random.below(tasks.len() as u64) as usize);
        }
        std::thread::scope(|scope| {
            let begin = |(me, task): (usize, Task<'a>)| {
                scope.spawn(move || {
                    // The turn goes on when the task ends in a panic, too.
                    let _end = End { turns: self, random, me };
                    drop(self.wait_for_turn(self.gathering.lock(), me));
                    task();
                })
            };
            let threads: Vec<_> = tasks.into_iter().enumerate().map(begin).collect();
            let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            if let Some(panic) = ends.into_iter().find_map(Result::err) {
                resume_unwind(panic);
            }
        });
    }

    /// Gives the turn to any thread and waits until it comes back, up to a few times. Nothing between gatherings.
    pub(super) fn let_others_go(&self, random: &SimRandom) {
        if self.gathering.lock().turn.is_none() {
            return;
        }
        // Several times, so that more than one gets as far as to wait for this thread.
        for _ in 0..random.below(8) {
            let gathering = self.gathering.lock();
            let Some(me) = gathering.turn else { return };
            let next = gathering.pick(random, |doing| doing != Doing::Ended);
            self.pass(gathering, me, next);
        }
    }

    /// The thread that has the turn waits for what has not happened; `is_first` if it did something since it last
    /// looked. Answers whether others ran meanwhile; else all sleep.
    pub(super) fn sleep(&self, deadline: Option<Duration>, is_first: bool, random: &SimRandom) -> bool {
        let mut gathering = self.gathering.lock();
        let Some(me) = gathering.turn else { return false };
        if is_first {
            gathering.wake_all();
        }
        gathering.threads[me] = Doing::Asleep(deadline);
        let next = gathering.pick(random, |doing| doing == Doing::Ready);
        self.pass(gathering, me, next)
    }

    /// The thread that has the turn is awake.
    pub(super) fn wake(&self) {
        let mut gathering = self.gathering.lock();
        if let Some(me) = gathering.turn {
            gathering.threads[me] = Doing::Ready;
        }
    }

    /// Something was done that everybody may have waited for.
    pub(super) fn wake_all(&self) {
        self.gathering.lock().wake_all();
    }

    /// All sleep, and nothing is left that could wake one. Answers `false` if nobody else has a deadline before `mine`.
    pub(super) fn pass_to_earliest(&self, mine: Option<Duration>, random: &SimRandom) -> bool {
        let gathering = self.gathering.lock();
        let Some(me) = gathering.turn else { return false };
        let deadlines = gathering.threads.iter().filter_map(|&doing| match doing {
            Doing::Asleep(deadline) => deadline,
            _ => None,
        });
        let Some(earliest) = deadlines.min().filter(|&earliest| mine.is_none_or(|mine| earliest < mine))
        else {
            return false;
        };
        let next = gathering.pick(random, |doing| doing == Doing::Asleep(Some(earliest)));
        self.pass(gathering, me, next)
    }

    /// Gives the turn to `next`, and waits until it comes back.
    fn pass(&self, mut gathering: MutexGuard<'_, Gathering>, me: usize, next: Option<usize>) -> bool {
        let Some(next) = next.filter(|&next| next != me) else { return false };
        gathering.turn = Some(next);
        self.passed.notify_all();
        drop(self.wait_for_turn(gathering, me));
        true
    }

    fn wait_for_turn<'a>(
        &self,
        mut gathering: MutexGuard<'a, Gathering>,
        me: usize,
    ) -> MutexGuard<'a, Gathering> {
        while gathering.turn != Some(me) {
            self.passed.wait(&mut gathering);
        }
        gathering
    }
}

impl Gathering {
    /// Any of the threads that `is_asked_for`.
    fn pick(&self, random: &SimRandom, is_asked_for: impl Fn(Doing) -> bool) -> Option<usize> {
        let places = (0..self.threads.len()).filter(|&place| is_asked_for(self.threads[place]));
        let places: Vec<usize> = places.collect();
        (!places.is_empty()).then(|| places[random.below(places.len() as u64) as usize])
    }

    /// Lets everybody who sleeps look again.
    fn wake_all(&mut self) {
        for doing in &mut self.threads {
            if matches!(doing, Doing::Asleep(_)) {
                *doing = Doing::Ready;
            }
        }
    }
}

/// The end of a thread of the gathering, which passes the turn on for good.
struct End<'a> {
    turns: &'a Turns,
    random: &'a SimRandom,
    me: usize,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut gathering = self.turns.gathering.lock();
        gathering.threads[self.me] = Doing::Ended;
        gathering.wake_all();
        gathering.turn = gathering.pick(self.random, |doing| doing == Doing::Ready);
        drop(gathering);
        self.turns.passed.notify_all();
    }
}
