//! Ports, parameters and messages agree: who sends what to whom, when, and how many bytes.

use super::{Check, MAX_SIZE, Place, PlanError, Rule, index, packed_bytes, product};
use crate::plan::{
    Forecast, InputPort, MAX_DEPTH, Message, MessageKind, OutputPort, ParamInfo, Phase, Plan, Role,
    RolePlan, WeightsMode,
};
use crate::shape::Shape;

pub(super) fn check(plan: &Plan) -> Check {
    let at = |place| move |rule| PlanError { place, rule };
    check_roles(plan).map_err(at(Place::Plan))?;
    for role in &plan.roles {
        check_role(plan, role).map_err(at(Place::Role(role.role)))?;
    }
    for (i, message) in plan.messages.iter().enumerate() {
        check_message(plan, message).map_err(at(Place::Message(i)))?;
    }
    let mut names = Names { plan, named: vec![false; plan.messages.len()] };
    for (i, port) in plan.inputs.iter().enumerate() {
        names.input(port).map_err(at(Place::Input(i)))?;
    }
    for (i, port) in plan.outputs.iter().enumerate() {
        names.output(port).map_err(at(Place::Output(i)))?;
    }
    for (i, param) in plan.params.iter().enumerate() {
        names.param(param).map_err(at(Place::Param(i)))?;
    }
    names.all_named()?;
    plan.forecast.as_ref().map_or(Ok(()), check_forecast).map_err(at(Place::Forecast))
}

fn check_roles(plan: &Plan) -> Result<(), Rule> {
    if plan.parties < 2 {
        return Err(Rule::Parties);
    }
    if !(1..=MAX_DEPTH).contains(&plan.depth) {
        return Err(Rule::Depth);
    }
    let expected = plan.compute_parties().chain([Role::Dealer]);
    if plan.roles.iter().map(|r| r.role).eq(expected) { Ok(()) } else { Err(Rule::Roles) }
}

fn check_role(plan: &Plan, role: &RolePlan) -> Result<(), Rule> {
    if role.deploy_bytes.max(role.run_bytes) > MAX_SIZE {
        return Err(Rule::TooLarge);
    }
    for step in Phase::ALL.into_iter().flat_map(|phase| role.steps(phase)) {
        index("layer", step.layer, plan.layers.len())?;
        let (start, end) = step.predicted_us;
        in_order(&[0.0, start, end])?;
    }
    Ok(())
}

fn check_forecast(forecast: &Forecast) -> Result<(), Rule> {
    // Whole, so that a number that is added cannot be left out here.
    let &Forecast {
        schedule: _,
        link: _,
        kernels: _,
        bytes_per_us,
        threads: _,
        cores: _,
        offline_us,
        online_us,
        compute_us,
        wire_us,
        latency_us,
        run_latency_us,
        run_compute_us,
        run_wire_us,
        run_us,
        run_online_us,
        choices: _,
    } = forecast;
    let one_run = [offline_us, online_us, compute_us, wire_us, latency_us];
    let many_runs = [run_latency_us, run_compute_us, run_wire_us, run_us, run_online_us];
    let mut numbers = one_run.into_iter().chain(many_runs).chain([bytes_per_us]);
    numbers.try_for_each(|number| in_order(&[0.0, number]))
}

/// Finite numbers, none smaller than the one before.
fn in_order(numbers: &[f64]) -> Result<(), Rule> {
    let finite = numbers.iter().all(|number| number.is_finite());
    if finite && numbers.is_sorted() { Ok(()) } else { Err(Rule::NotInOrder) }
}

fn check_message(plan: &Plan, message: &Message) -> Result<(), Rule> {
    let &Message { from, to, phase, kind, bytes, round: _, layer } = message;
    index("layer", layer, plan.layers.len())?;
    if bytes > MAX_SIZE {
        return Err(Rule::TooLarge);
    }
    let party = |role: Role| matches!(role, Role::Party(b) if b < plan.parties);
    let allowed = match kind {
        MessageKind::Open => party(from) && party(to) && from != to,
        MessageKind::Correction => {
            from == Role::Dealer && to == Role::Party(plan.parties - 1) && phase != Phase::Online
        }
        MessageKind::Mask => {
            from == Role::Dealer
                && matches!(
                    (to, phase),
                    (Role::Client, Phase::Offline) | (Role::Owner, Phase::Setup)
                )
        }
        MessageKind::Input => from == Role::Client && party(to) && phase == Phase::Online,
        MessageKind::Weight => {
            let owner = match plan.weights {
                WeightsMode::Party0 => from == Role::Party(0),
                WeightsMode::Owner => from == Role::Owner,
                WeightsMode::Public => false,
            };
            owner && party(to) && to != from && phase == Phase::Setup
        }
        MessageKind::Reveal => party(from) && to == Role::Client && phase != Phase::Setup,
    };
    if allowed { Ok(()) } else { Err(Rule::Route { kind, from, to, phase }) }
}

/// Messages that ports and parameters have named so far.
struct Names<'a> {
    plan: &'a Plan,
    named: Vec<bool>,
}

/// What a port or parameter says about a message that it names.
struct Expected {
    kind: MessageKind,
    from: Role,
    to: Role,
    bytes: u64,
}

impl Names<'_> {
    fn input(&mut self, port: &InputPort) -> Result<(), Rule> {
        let bytes = self.port_bytes(port.ring, &port.shape)?;
        in_order(&[port.lo, port.hi])?;
        let (dealer, client) = (Role::Dealer, Role::Client);
        self.name(
            port.mask,
            &Expected { kind: MessageKind::Mask, from: dealer, to: client, bytes },
        )?;
        self.name_each(&port.masked, MessageKind::Input, client, bytes)
    }

    fn output(&mut self, port: &OutputPort) -> Result<(), Rule> {
        let bytes = self.port_bytes(port.ring, &port.shape)?;
        in_order(&[0.0, port.error])?;
        let reveal = |from| Expected { kind: MessageKind::Reveal, from, to: Role::Client, bytes };
        self.name(port.masked, &reveal(Role::Party(0)))?;
        if self.plan.messages[port.masked as usize].phase != Phase::Online {
            return Err(Rule::Route {
                kind: MessageKind::Reveal,
                from: Role::Party(0),
                to: Role::Client,
                phase: Phase::Offline,
            });
        }
        self.one_per_party(&port.shares)?;
        for (&message, from) in port.shares.iter().zip(self.plan.compute_parties()) {
            self.name(message, &reveal(from))?;
        }
        Ok(())
    }

    fn param(&mut self, param: &ParamInfo) -> Result<(), Rule> {
        let word = self.plan.word;
        let bytes = product([param.elements, word.bytes()]).ok_or(Rule::TooLarge)?;
        if let Some(public) = &param.public {
            let (found, expected) = (public.len() as u64, param.elements);
            if found != expected {
                return Err(Rule::Length { what: "public elements", found, expected });
            }
        }
        let from = match self.plan.weights {
            WeightsMode::Owner => Role::Owner,
            WeightsMode::Party0 | WeightsMode::Public => Role::Party(0),
        };
        if let Some(mask) = param.mask {
            let (kind, dealer) = (MessageKind::Mask, Role::Dealer);
            self.name(mask, &Expected { kind, from: dealer, to: Role::Owner, bytes })?;
        }
        self.name_each(&param.masked, MessageKind::Weight, from, bytes)
    }

    /// Names messages to compute parties, at most one each: a party that has no use for a value is
    /// not sent it.
    fn name_each(
        &mut self,
        messages: &[u32],
        kind: MessageKind,
        from: Role,
        bytes: u64,
    ) -> Result<(), Rule> {
        let plan = self.plan;
        let mut receivers = plan.compute_parties().filter(|&to| to != from);
        for (at, &message) in messages.iter().enumerate() {
            let found = plan.messages.get(message as usize).map(|m| m.to);
            let to = receivers.find(|to| found.is_none_or(|found| found == *to));
            let most = usize::from(plan.parties);
            let to = to.ok_or_else(|| count("messages in order of receivers", at, most))?;
            self.name(message, &Expected { kind, from, to, bytes })?;
        }
        Ok(())
    }

    fn port_bytes(&self, ring: u8, shape: &Shape) -> Result<u64, Rule> {
        if !(1..=self.plan.word.bits()).contains(&ring) {
            return Err(Rule::Ring { ring });
        }
        let elements = product(shape.iter().map(|&extent| extent as u64));
        Ok(packed_bytes(elements.ok_or(Rule::TooLarge)?, ring))
    }

    fn one_per_party(&self, messages: &[u32]) -> Result<(), Rule> {
        let expected = usize::from(self.plan.parties);
        if messages.len() == expected {
            Ok(())
        } else {
            Err(count("messages", messages.len(), expected))
        }
    }

    fn name(&mut self, id: u32, expected: &Expected) -> Result<(), Rule> {
        let at = index("message", id, self.named.len())?;
        let message = &self.plan.messages[at];
        let &Expected { kind, from, to, bytes } = expected;
        if (message.kind, message.from, message.to) != (kind, from, to) {
            return Err(Rule::NotThisMessage { message: id, kind, from, to });
        }
        // Rings of weights may be smaller than the word, and only their owner needs to know.
        let fits = match (kind, from) {
            (MessageKind::Weight, Role::Party(_)) => message.bytes <= bytes,
            _ => message.bytes == bytes,
        };
        if !fits {
            let what = "bytes in its message";
            return Err(Rule::Length { what, found: message.bytes, expected: bytes });
        }
        if std::mem::replace(&mut self.named[at], true) {
            return Err(Rule::NamedTwice { message: id });
        }
        Ok(())
    }

    /// Roles without a plan know their messages from ports and parameters only.
    fn all_named(&self) -> Check {
        let planless = |role| matches!(role, Role::Client | Role::Owner);
        for (at, message) in self.plan.messages.iter().enumerate() {
            let must = planless(message.from)
                || planless(message.to)
                || message.kind == MessageKind::Weight;
            if must && !self.named[at] {
                return Err(PlanError { place: Place::Message(at), rule: Rule::NotNamed });
            }
        }
        Ok(())
    }
}

fn count(what: &'static str, found: usize, expected: usize) -> Rule {
    Rule::Length { what, found: found as u64, expected: expected as u64 }
}

#[cfg(test)]
mod tests {
    use crate::plan::verify::testing::broken;
    use insta::assert_snapshot;

    #[test]
    fn roles_are_complete() {
        assert_snapshot!(broken(&[("word 32 parties 2", "word 32 parties 1")]), @"plan: there are at least two compute parties");
        assert_snapshot!(broken(&[("word 32 parties 2", "word 32 parties 3")]), @"plan: the roles are the compute parties in order, then the dealer");
    }

    #[test]
    fn depth_is_in_range() {
        assert_snapshot!(broken(&[("depth 1", "depth 0")]), @"plan: there are 1 to 16 runs in flight");
        assert_snapshot!(broken(&[("depth 1", "depth 17")]), @"plan: there are 1 to 16 runs in flight");
    }

    #[test]
    fn ports_name_their_messages() {
        assert_snapshot!(broken(&[("mask 0 masked [1, 2]", "mask 3 masked [1, 2]")]), @"input 0: message 3 is not the mask message from dealer to client that belongs here");
        assert_snapshot!(broken(&[("mask 0 masked [1, 2]", "mask 0 masked [1]")]), @"message 2: no input, output or parameter names this message");
        assert_snapshot!(broken(&[("mask 0 masked [1, 2]", "mask 0 masked [1, 10]")]), @"input 0: message 10 does not exist, there are 10");
        assert_snapshot!(broken(&[("masked 7 shares [8, 9]", "masked 7 shares [7, 9]")]), @"output 0: message 7 is named twice");
        assert_snapshot!(broken(&[("\"w\" elements 4 frac 12 public none masked [3]", "\"w\" elements 4 frac 12 public none masked []")]), @"message 3: no input, output or parameter names this message");
    }

    #[test]
    fn lengths_follow_from_shapes() {
        assert_snapshot!(broken(&[("\"x\" shape [4]", "\"x\" shape [5]")]), @"input 0: has 16 bytes in its message, expected 20");
        assert_snapshot!(broken(&[("\"x\" shape [4]", "\"x\" shape [1000000x1000000x1000000]")]), @"input 0: an arena, tensor or address is larger than any machine");
        assert_snapshot!(broken(&[("\"y\" shape [4] ring 25", "\"y\" shape [4] ring 33")]), @"output 0: a ring of 33 bits does not fit the word");
        assert_snapshot!(broken(&[("elements 4 frac 12 public none", "elements 4 frac 12 public [1, 2]")]), @"parameter 0: has 2 public elements, expected 4");
    }

    #[test]
    fn bounds_are_numbers() {
        assert_snapshot!(broken(&[("lo -8 hi 8", "lo 8 hi -8")]), @"input 0: bounds, errors and times are finite numbers in order");
        assert_snapshot!(broken(&[("lo -8 hi 8", "lo NaN hi 8")]), @"input 0: bounds, errors and times are finite numbers in order");
    }

    #[test]
    fn predicted_times_are_numbers() {
        let forecast = |us: &str| {
            let rest = "wire_us 3 latency_us 4 run_latency_us 5 run_compute_us 5 run_wire_us 6 run_us 7 run_online_us 8 choices []";
            format!(
                "forecast 0: schedule \"layer\" link \"lan\" kernels \"avx2\" bytes_per_us 125 threads 1 cores none offline_us 9 online_us 9 compute_us {us} {rest}\n\n  ; 0: hides"
            )
        };
        let refused = |us: &str| broken(&[("; 0: hides", &forecast(us))]);
        assert_snapshot!(refused("NaN"), @"forecast: bounds, errors and times are finite numbers in order");
        assert_snapshot!(refused("inf"), @"forecast: bounds, errors and times are finite numbers in order");
        assert_snapshot!(refused("-1"), @"forecast: bounds, errors and times are finite numbers in order");
        let load = "0: load param 0 dst deploy@0+16";
        assert_snapshot!(broken(&[(load, &format!("{load} predicted_us [2, 1]"))]), @"P0: bounds, errors and times are finite numbers in order");
    }

    #[test]
    fn messages_keep_to_their_route() {
        assert_snapshot!(broken(&[("message 4: from dealer to P1 phase offline", "message 4: from dealer to P0 phase offline")]), @"message 4: correction messages do not go from dealer to P0 in the offline phase");
        assert_snapshot!(broken(&[("message 4: from dealer to P1 phase offline", "message 4: from dealer to P1 phase online")]), @"message 4: correction messages do not go from dealer to P1 in the online phase");
        assert_snapshot!(broken(&[("message 5: from P0 to P1", "message 5: from P0 to dealer")]), @"message 5: open messages do not go from P0 to dealer in the online phase");
        assert_snapshot!(broken(&[("message 0: from dealer to client", "message 0: from dealer to P0")]), @"message 0: mask messages do not go from dealer to P0 in the offline phase");
        assert_snapshot!(broken(&[("message 9: from P1 to client", "message 9: from P1 to P0")]), @"message 9: reveal messages do not go from P1 to P0 in the online phase");
    }
}
