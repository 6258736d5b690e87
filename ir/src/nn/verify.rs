//! Rules of a graph beyond those of its program: the tables of parameters and ports.

use super::{Graph, Op, Visibility};
use crate::id::Id;
use crate::ssa::VerifyError;

impl Graph {
    /// Checks the program, and that its nodes agree with the tables of parameters and ports.
    ///
    /// # Errors
    /// Names the first node, parameter or port that breaks a rule.
    pub fn verify(&self) -> Result<(), VerifyError> {
        self.program.verify()?;
        self.check_params()?;
        for id in self.program.ids() {
            self.check_leaf(id)?;
        }
        self.check_ports()
    }

    /// Whether only operations remain that are lowered to protocols; the composites of the second
    /// group of [`Op`] are gone.
    ///
    /// # Errors
    /// Names the first composite.
    pub fn is_core(&self) -> Result<(), VerifyError> {
        match self.program.ids().find(|id| !self.program[*id].op.is_core()) {
            Some(id) => fail(id.to_string(), "a composite is left; run the `legalise` pass"),
            None => Ok(()),
        }
    }

    fn check_params(&self) -> Result<(), VerifyError> {
        match self.params.iter().find(|p| p.shape.elements() != p.data.len()) {
            Some(param) => {
                fail(format!("parameter `{}`", param.name), "its data do not fill its shape")
            }
            None => Ok(()),
        }
    }

    /// Checks a node that reads a table.
    fn check_leaf(&self, id: Id) -> Result<(), VerifyError> {
        let node = &self.program[id];
        if let Op::Param { id: param } = node.op {
            let Some(param) = self.params.get(param.index()) else {
                return fail(id.to_string(), "there is no such parameter");
            };
            if param.shape != node.ty.shape {
                return fail(id.to_string(), "its shape is not the parameter's");
            }
            if !param.public && node.ty.visibility == Visibility::Public {
                return fail(id.to_string(), "a private parameter is read as public");
            }
        }
        if let Op::Input { port } = node.op
            && self.inputs.get(port.index()).is_none_or(|input| input.value != id)
        {
            return fail(id.to_string(), "the table of inputs does not point back");
        }
        Ok(())
    }

    fn check_ports(&self) -> Result<(), VerifyError> {
        for (at, input) in self.inputs.iter().enumerate() {
            let node = self.program.nodes.get(input.value.index());
            let reads = |op: &Op| matches!(op, Op::Input { port } if port.index() == at);
            if !node.is_some_and(|node| reads(&node.op)) {
                return fail(format!("input `{}`", input.name), "its node is not this input");
            }
        }
        let revealed = self.outputs.iter().map(|output| output.value);
        if !revealed.eq(self.program.outputs.iter().copied()) {
            return fail("outputs".to_owned(), "they are not what the program returns");
        }
        Ok(())
    }
}

fn fail<T>(place: String, message: &str) -> Result<T, VerifyError> {
    Err(VerifyError { place, message: message.to_owned() })
}
