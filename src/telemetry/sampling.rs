//! Which calls are traced: decided before a span is made, so that the others cost a look at one
//! header and a number.

use std::sync::Arc;

use super::trace_context::TraceParent;
use crate::config::{Ratio, TracingSettings};
use crate::randomness::{Lots, Randomness, RandomnessError};

/// Cheap to clone; all clones draw from the same lots.
#[derive(Debug, Clone)]
pub struct Sampling(Option<Arc<Drawing>>);

#[derive(Debug)]
struct Drawing {
    ratio: Ratio,
    lots: Lots,
}

impl Sampling {
    /// Nothing is traced.
    pub fn off() -> Self {
        Self(None)
    }

    /// As configured: off where there is nowhere to export to.
    ///
    /// # Errors
    /// There is no randomness to draw lots with.
    pub fn of(
        settings: &TracingSettings,
        randomness: &dyn Randomness,
    ) -> Result<Self, RandomnessError> {
        if settings.endpoint.is_none() {
            return Ok(Self::off());
        }
        Self::drawing(settings.sample_ratio, randomness)
    }

    fn drawing(ratio: Ratio, randomness: &dyn Randomness) -> Result<Self, RandomnessError> {
        let lots = Lots::new(randomness)?;
        Ok(Self(Some(Arc::new(Drawing { ratio, lots }))))
    }

    /// Whether a call is exported: as its caller decided, where it did; else by lot.
    pub fn takes(&self, parent: Option<&TraceParent>) -> bool {
        match parent {
            Some(parent) => self.0.is_some() && parent.is_sampled,
            None => self.draws(),
        }
    }

    fn draws(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|drawing| drawing.ratio.takes(drawing.lots.draw()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::SeededRandomness;

    fn seeded(ratio: &str) -> Sampling {
        Sampling::drawing(Ratio::parse(ratio).unwrap(), &SeededRandomness::new(7)).unwrap()
    }

    #[test]
    fn as_many_are_drawn_as_the_ratio_says() {
        for (ratio, least, most) in [
            ("0", 0, 0),
            ("0.01", 843, 1_157),
            ("0.5", 49_209, 50_791),
            ("1", 100_000, 100_000),
        ] {
            let sampling = seeded(ratio);
            let drawn = (0..100_000).filter(|_| sampling.draws()).count();
            assert!((least..=most).contains(&drawn), "{ratio}: {drawn}");
        }
    }

    #[test]
    fn the_caller_decides_where_it_did() {
        let parent = |flags: &str| {
            let header = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            TraceParent::parse(header.as_bytes()).unwrap()
        };
        assert!(seeded("0").takes(Some(&parent("01"))));
        assert!(!seeded("1").takes(Some(&parent("00"))));
        assert!(seeded("1").takes(None));
        assert!(!Sampling::off().takes(Some(&parent("01"))));
        assert!(!Sampling::off().takes(None));
    }
}
