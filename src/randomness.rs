//! Randomness as an argument, so that a test can repeat what it saw: the one place that asks the
//! system for the randomness of ids and links.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The system has no randomness to give, so that nothing can be made that nobody may guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no randomness")]
pub struct RandomnessError;

/// Where the shell gets its randomness from.
pub trait Randomness: fmt::Debug + Send + Sync + 'static {
    /// Sixteen bytes that nobody can foretell.
    fn bytes(&self) -> Result<[u8; 16], RandomnessError>;
}

/// The randomness of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the randomness that everything else is handed"
    )]
    fn bytes(&self) -> Result<[u8; 16], RandomnessError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_no_source| RandomnessError)?;
        Ok(bytes)
    }
}

/// The same bytes in the same order for the same seed: for tests, and for nothing else.
#[derive(Debug)]
pub struct SeededRandomness(Mutex<u64>);

impl SeededRandomness {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Randomness for SeededRandomness {
    fn bytes(&self) -> Result<[u8; 16], RandomnessError> {
        let mut state = self.0.lock().map_err(|_poisoned| RandomnessError)?;
        let mut next = || {
            *state = state.wrapping_add(STEP);
            mixed(*state)
        };
        let (first, second) = (next(), next());
        Ok(((u128::from(first) << 64) | u128::from(second)).to_be_bytes())
    }
}

/// What the state of SplitMix64 moves by.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number that SplitMix64 makes of its state.
fn mixed(state: u64) -> u64 {
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Lots for samples: drawn evenly, from all threads, for nanoseconds. Nothing may rest on their being
/// hard to foretell.
#[derive(Debug)]
pub struct Lots(AtomicU64);

impl Lots {
    /// A lot is below this.
    pub const COUNT: u64 = 1_000_000;

    pub fn new(randomness: &dyn Randomness) -> Result<Self, RandomnessError> {
        let [seed @ .., _, _, _, _, _, _, _, _] = randomness.bytes()?;
        Ok(Self(AtomicU64::new(u64::from_be_bytes(seed))))
    }

    pub fn draw(&self) -> u64 {
        mixed(self.0.fetch_add(STEP, Ordering::Relaxed)) % Self::COUNT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_again_and_the_system_never_does() {
        let (one, other) = (SeededRandomness::new(7), SeededRandomness::new(7));
        assert_eq!(one.bytes(), other.bytes());
        assert_ne!(one.bytes(), SeededRandomness::new(7).bytes());
        assert_ne!(SystemRandomness.bytes(), SystemRandomness.bytes());
    }
}
