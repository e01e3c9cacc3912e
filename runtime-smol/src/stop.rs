//! Stopping a server: every connection's task is woken once and says goodbye.

use event_listener::Event;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Stops servers that were given a clone of it: [`ServeOptions::stop`](crate::ServeOptions::stop).
#[derive(Debug, Clone, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    asked: Event,
    /// The tasks to wake. A waker in a table costs a connection less than a listener of its own.
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Stop {
    /// Closes the listeners and every connection (1001 `going away`).
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.asked.notify(usize::MAX);
        let wakers: Vec<_> = self.shared.lock().wakers.iter().flatten().cloned().collect();
        for waker in wakers {
            waker.wake();
        }
    }

    /// Whether [`Stop::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// Waits for [`Stop::stop`].
    pub async fn asked(&self) {
        while !self.is_stopping() {
            let listener = self.shared.asked.listen();
            if !self.is_stopping() {
                listener.await;
            }
        }
    }

    pub(crate) fn seat(&self) -> Seat {
        Seat { stop: self.clone(), taken: None }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One task's place in the table.
#[derive(Debug)]
pub(crate) struct Seat {
    stop: Stop,
    taken: Option<(usize, Waker)>,
}

impl Seat {
    /// Whether to stop; else the task is woken when that changes.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.taken.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            let waker = cx.waker();
            let mut tasks = self.stop.shared.lock();
            let index = match &self.taken {
                Some((index, _)) => *index,
                None => tasks.free.pop().unwrap_or_else(|| {
                    tasks.wakers.push(None);
                    tasks.wakers.len() - 1
                }),
            };
            let former = tasks.wakers[index].replace(waker.clone());
            drop(tasks);
            drop(former);
            self.taken = Some((index, waker.clone()));
        }
        // Looked at after the waker is in place, so that no stop is missed.
        self.stop.is_stopping()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((index, _)) = self.taken.take() {
            let mut tasks = self.stop.shared.lock();
            let waker = tasks.wakers[index].take();
            tasks.free.push(index);
            drop(tasks);
            drop(waker);
        }
    }
}
