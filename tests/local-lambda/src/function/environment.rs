//! The kind of environment in which a function runs, and the course of its init.

use std::num::NonZeroUsize;

/// The kind of environment, from `AWS_LAMBDA_INITIALIZATION_TYPE` and `AWS_LAMBDA_MAX_CONCURRENCY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// On demand, or with provisioned concurrency, which runtimes do not distinguish.
    OnDemand,
    /// After its init the function waits to be restored, and only then polls.
    SnapStart,
    /// The function takes this many events at the same time.
    ManagedInstances(NonZeroUsize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    Succeeds,
    /// The init reports an error to the Runtime API, and the function ends.
    Fails,
    /// The init never ends, so the function never polls.
    Hangs,
}

impl Environment {
    /// Parses the two variables, if they are set.
    ///
    /// # Errors
    ///
    /// When the second is no number above zero.
    pub fn of(
        initialization_type: Option<&str>,
        max_concurrency: Option<&str>,
    ) -> Result<Self, String> {
        match (initialization_type, max_concurrency) {
            (Some("snap-start"), _) => Ok(Self::SnapStart),
            (_, Some(text)) => text.parse().map(Self::ManagedInstances).map_err(|error| {
                format!("cannot read AWS_LAMBDA_MAX_CONCURRENCY={text:?}: {error}")
            }),
            (_, None) => Ok(Self::OnDemand),
        }
    }

    pub(super) fn concurrency(self) -> usize {
        match self {
            Self::OnDemand | Self::SnapStart => 1,
            Self::ManagedInstances(count) => count.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_name_the_kind_of_environment() {
        let two = NonZeroUsize::new(2).expect("two is not zero");
        assert_eq!(Environment::of(None, None), Ok(Environment::OnDemand));
        assert_eq!(Environment::of(Some("on-demand"), None), Ok(Environment::OnDemand));
        assert_eq!(Environment::of(Some("snap-start"), None), Ok(Environment::SnapStart));
        let managed = Environment::of(Some("lambda-managed-instances"), Some("2"));
        assert_eq!(managed, Ok(Environment::ManagedInstances(two)));
        let message = Environment::of(None, Some("0")).expect_err("zero at once is none");
        assert!(message.starts_with("cannot read AWS_LAMBDA_MAX_CONCURRENCY=\"0\": "), "{message}");
    }
}
