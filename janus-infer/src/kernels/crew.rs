//! Threads that spin while they wait for work.
//!
//! Decoding one token of one sequence takes some hundred matrix products of 10 to 50 µs each. Waking a
//! thread takes as long as its share of such a product. So the threads of a forward pass stay awake from
//! its first product to its last: they look for the next piece of work in a loop, and yield their core
//! only after a long time without any.

use std::cell::UnsafeCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};

/// How often a thread spins before it yields.
const SPINS: usize = 2_000;

/// A job, which is called with the number of each of its pieces.
type Job = *const (dyn Fn(usize) + Sync);

/// Threads of rayon's pool that work together during a forward pass.
pub(crate) struct Crew {
    /// The number of threads, including the one that submits the work.
    threads: usize,
    /// Pieces of the job that no thread has taken; 0 or less if there is no job.
    left: AtomicIsize,
    /// Pieces that are finished.
    finished: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    /// Whether a job is running.
    busy: AtomicBool,
    /// Whether the helping threads must return.
    over: AtomicBool,
}

// SAFETY: `job` is written only by the thread that set `busy`, while no piece is left to take and all
// that were taken are finished. Other threads read it only after taking a piece, which the writer's
// `left.store` (release) and their `fetch_sub` (acquire) order after the write. The job may be called
// from any thread (`Sync`).
#[expect(unsafe_code, reason = "shares a job among threads; the comment above says why this is sound")]
unsafe impl Sync for Crew {}

impl Crew {
    /// A crew of the calling thread alone.
    pub(crate) fn alone() -> Self {
        Self::of(1)
    }

    fn of(threads: usize) -> Self {
        Self {
            threads,
            left: AtomicIsize::new(0),
            finished: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            busy: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    /// Calls `work` with a crew of all threads of rayon's pool. A thread that is busy elsewhere joins
    /// when it can, and `work` does not wait for it.
    pub(crate) fn of_all<R: Send>(work: impl FnOnce(&Self) -> R + Send) -> R {
        /// Lets the other threads return, even if `work` panics.
        struct Over<'a>(&'a Crew);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.over.store(true, Ordering::Release);
            }
        }
        let crew = Self::of(rayon::current_num_threads());
        rayon::scope(|scope| {
            let over = Over(&crew);
            for _ in 1..crew.threads {
                scope.spawn(|_| crew.help());
            }
            work(over.0)
        })
    }

    /// The number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work` with each item once, on whichever thread is free, and returns when all are done. The
    /// crew has one job at a time: a nested call runs on its own thread alone.
    pub(crate) fn for_each<T: Send>(&self, items: Vec<T>, work: impl Fn(T) + Sync) {
        if self.threads == 1 || items.len() < 2 || self.busy.swap(true, Ordering::Acquire) {
            return items.into_iter().for_each(work);
        }
        let count = items.len();
        let items: Vec<_> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
        self.run(count, &|piece| {
            // No other thread has this piece, so the lock is free and the item is still there.
            if let Some(item) = items[piece].lock().ok().and_then(|mut item| item.take()) {
                work(item);
            }
        });
    }

    fn run(&self, pieces: usize, job: &(dyn Fn(usize) + Sync)) {
        #[expect(
            unsafe_code,
            reason = "the threads outlive the borrow of the job, whose lifetime the type `Job` cannot express"
        )]
        // SAFETY: the transmute extends the lifetime, but the pointer is not used after this call: it
        // returns, or unwinds, only when every piece is finished, and a thread that takes no piece does
        // not read the job. The crew was not busy, so no piece is left or unfinished and no thread reads
        // the cell (see `Sync` above). The crew stays busy until this call ends.
        unsafe {
            *self.job.get() = Some(std::mem::transmute::<*const (dyn Fn(usize) + Sync), Job>(job));
        }
        self.finished.store(0, Ordering::Relaxed);
        self.left.store(pieces.cast_signed(), Ordering::Release);
        let all = WaitForAll { crew: self, pieces };
        while self.take_piece() {}
        drop(all);
    }

    /// Takes and runs a piece of the job; `false` if none is left.
    fn take_piece(&self) -> bool {
        /// Counts a piece as finished even if it panics, so that no thread waits for it.
        struct Finished<'a>(&'a AtomicUsize);
        impl Drop for Finished<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Release);
            }
        }
        if self.left.load(Ordering::Relaxed) <= 0 {
            return false;
        }
        let left = self.left.fetch_sub(1, Ordering::Acquire);
        if left <= 0 {
            return false;
        }
        let _finished = Finished(&self.finished);
        #[expect(unsafe_code, reason = "calls the shared job")]
        // SAFETY: this piece was taken and is not finished, so the job is set and `run` has not returned.
        if let Some(job) = unsafe { *self.job.get() } {
            #[expect(unsafe_code, reason = "calls the shared job")]
            // SAFETY: as above.
            unsafe {
                (*job)(left.cast_unsigned() - 1);
            }
        }
        true
    }

    /// Runs pieces until the crew is over.
    fn help(&self) {
        let mut spins = 0;
        while !self.over.load(Ordering::Acquire) {
            if self.take_piece() {
                spins = 0;
            } else {
                wait(&mut spins);
            }
        }
    }
}

/// On drop, waits until all pieces are finished, whether those of this thread returned or panicked.
struct WaitForAll<'a> {
    crew: &'a Crew,
    pieces: usize,
}

impl Drop for WaitForAll<'_> {
    fn drop(&mut self) {
        let Self { crew: Crew { left, finished, .. }, pieces } = self;
        // If this thread panicked, the remaining pieces are skipped.
        while left.load(Ordering::Relaxed) > 0 {
            if left.fetch_sub(1, Ordering::Relaxed) > 0 {
                finished.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut spins = 0;
        while finished.load(Ordering::Acquire) < *pieces {
            wait(&mut spins);
        }
        self.crew.busy.store(false, Ordering::Release);
    }
}

fn wait(spins: &mut usize) {
    *spins += 1;
    if *spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn every_item_is_done_once_in_every_round() {
        for threads in [1, 2, 5] {
            pool(threads).install(|| {
                Crew::of_all(|crew| {
                    assert_eq!(crew.threads(), threads);
                    for round in 0..2000 {
                        let mut done = vec![0; round % 7];
                        crew.for_each(done.iter_mut().collect(), |done| *done += round + 1);
                        assert!(done.iter().all(|done| *done == round + 1));
                    }
                });
            });
        }
    }

    #[test]
    fn nested_work_is_done_too() {
        pool(3).install(|| {
            Crew::of_all(|crew| {
                let total = AtomicUsize::new(0);
                for _ in 0..200 {
                    crew.for_each((0..5).collect(), |i: usize| {
                        crew.for_each((0..4).collect(), |j: usize| {
                            total.fetch_add(i * j, Ordering::Relaxed);
                        });
                    });
                }
                assert_eq!(total.load(Ordering::Relaxed), 200 * 10 * 6);
            });
        });
    }

    #[test]
    fn a_crew_does_not_wait_for_busy_threads_of_the_pool() {
        let pool = pool(2);
        pool.scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            scope.spawn(move |_| receiver.recv().unwrap_or(()));
            let total = AtomicUsize::new(0);
            Crew::of_all(|crew| {
                crew.for_each((0..100).collect(), |item: usize| {
                    total.fetch_add(item, Ordering::Relaxed);
                });
                assert_eq!(total.load(Ordering::Relaxed), 4950);
                // The other thread is released only now, so the work did not wait for it.
                drop(sender);
            });
        });
    }

    #[test]
    fn a_panic_in_any_piece_ends_the_work_and_propagates() {
        let pool = pool(3);
        for item in [0, 5, 99] {
            let work = || {
                pool.install(|| {
                    Crew::of_all(|crew| crew.for_each((0..100).collect(), |i: usize| assert_ne!(i, item)))
                })
            };
            assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
        }
        assert_eq!(pool.install(|| Crew::of_all(Crew::threads)), 3);
    }
}
