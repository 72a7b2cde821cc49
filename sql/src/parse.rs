//! From SQL text to statements.

use std::rc::Rc;

/// One statement of a message; cheap to clone.
#[derive(Clone, Debug)]
pub struct Statement {
    inner: Rc<StatementInner>,
}

#[derive(Debug)]
struct StatementInner {
    text: Rc<str>,
}

impl Statement {
    /// The whole text that it was split from.
    pub fn text(&self) -> &str {
        &self.inner.text
    }
}
