//! Which agent.

/// The agents that tell themselves apart on the wire, each as of the version it was recorded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// Thundra for Python 2.7.4: one composite, kept-alive connections, gives up after 5 s
    ThundraPython,
    /// Catchpoint for Python 3.0.10: as Thundra's, with arrays
    CatchpointPython,
    /// Thundra for Node.js 2.14.4: arrays in chunks, kept-alive connections, gives up after 3 s,
    /// tries again once after a reset
    Node,
    /// Thundra for Node.js up to 2.14.1, as of 2.13.65: all items in one composite
    NodeComposite,
    /// Thundra for Go v2: composites, a connection each, never gives up
    Go,
}
