//! A compute party or the dealer: its part of the plan, its parameters, seeds and memory.
//!
//! The roles differ only in their steps and in the seeds that they hold, and both are data.

use crate::arena::{Access, Arena, ArenaError, Memory};
use crate::arena::{words, words_mut};
use crate::check::{accesses, check_plan};
use crate::error::{PlanError, RunError};
use crate::executor::Executor;
use crate::kernels::{self, Buffer, RingWord, Scratch};
use crate::mask::{Epoch, Masks};
use crate::params::{self, Params};
use crate::payload::Payload;
use crate::pool::Pool;
use crate::schedule::Schedule;
use crate::share::Seed;
use mpcc_ir::plan::{Phase, Plan, Region, Role, RolePlan, Span, Step, StepOp, Word};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What a compute party or the dealer keeps for a deployment.
pub struct RoleState {
    plan: Arc<Plan>,
    index: usize,
    schedules: [Schedule; 3],
    /// What setup loads; nothing afterwards.
    params: Mutex<Params>,
    seeds: Vec<(u8, Seed)>,
    deploy: Arc<Arena>,
    pool: Pool,
    /// The setup phase, while there is one.
    setup: Mutex<Weak<Executor>>,
}

impl RoleState {
    /// Checks the plan and takes its part for `role`. A party gives its own seed, the dealer those of all.
    ///
    /// # Errors
    /// A plan that does not pass [`check_plan`], a missing seed or weight, or too little memory.
    pub fn new(
        plan: Arc<Plan>,
        role: Role,
        params: Params,
        seeds: Vec<(u8, Seed)>,
    ) -> Result<Arc<Self>, RunError> {
        check_plan(&plan)?;
        let index = plan.roles.iter().position(|r| r.role == role);
        let index = index.ok_or(PlanError::NoRole { role, parties: plan.parties })?;
        let wanted = match role {
            Role::Party(b) => b..b + 1,
            Role::Dealer => 0..plan.parties,
            Role::Client | Role::Owner => 0..0,
        };
        for party in wanted {
            if !seeds.iter().any(|(b, _)| *b == party) {
                return Err(RunError::NoSeed { role, party });
            }
        }
        let own = &plan.roles[index];
        params.check(&plan, own)?;
        let schedules = Phase::ALL.map(|phase| Schedule::new(&plan, own, phase));
        let deploy = reserve(role, own.deploy_bytes)?;
        let (params, pool, setup) = (Mutex::new(params), Pool::default(), Mutex::default());
        Ok(Arc::new(Self { plan, index, schedules, params, seeds, deploy, pool, setup }))
    }

    /// A role whose steps are only timed: nothing about its plan is checked, and it holds no secret.
    pub(crate) fn for_measuring(plan: Arc<Plan>, role: Role) -> Result<Arc<Self>, RunError> {
        let index = plan.roles.iter().position(|r| r.role == role);
        let index = index.ok_or(PlanError::NoRole { role, parties: plan.parties })?;
        let deploy = reserve(role, plan.roles[index].deploy_bytes)?;
        let schedules = Phase::ALL.map(|_| Schedule::empty());
        let params = Mutex::new(Params::public());
        let (seeds, pool, setup) = (Vec::new(), Pool::default(), Mutex::default());
        Ok(Arc::new(Self { plan, index, schedules, params, seeds, deploy, pool, setup }))
    }

    pub(crate) fn deploy_arena(&self) -> Arc<Arena> {
        Arc::clone(&self.deploy)
    }

    /// All words of both arenas.
    pub(crate) fn arenas(&self) -> [Span; 2] {
        let (own, word) = (self.own(), self.plan.word.bytes());
        let all = |region, bytes: u64| Span { region, at: 0, len: bytes / word * word };
        [all(Region::Deploy, own.deploy_bytes), all(Region::Run, own.run_bytes)]
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Which role this is.
    pub fn role(&self) -> Role {
        self.own().role
    }

    fn own(&self) -> &RolePlan {
        &self.plan.roles[self.index]
    }

    /// The phases that compute threads work on.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn steps(&self, phase: Phase) -> &[Step] {
        self.own().steps(phase)
    }

    pub(crate) fn schedule(&self, phase: Phase) -> &Schedule {
        &self.schedules[phase as usize]
    }

    /// Memory for one run at a time; a role has one for each run in flight.
    ///
    /// # Errors
    /// [`RunError::Memory`] where the machine cannot provide it.
    pub fn run_arena(&self) -> Result<Arc<Arena>, RunError> {
        reserve(self.role(), self.own().run_bytes)
    }

    /// Gets a phase ready; for the setup `run` is the first run that it is needed for. While that is not over, a run's
    /// steps wait for what they use of it.
    pub fn start(self: &Arc<Self>, phase: Phase, run: u64, arena: &Arc<Arena>) -> Arc<Executor> {
        let epoch = match phase {
            Phase::Setup => Epoch::Deploy,
            Phase::Offline | Phase::Online => Epoch::Run(run),
        };
        let masks = self.seeds.iter().fold(Masks::new(self.plan.parties), |masks, (b, seed)| {
            masks.with_party(*b, seed, epoch)
        });
        let memory = Memory { deploy: Arc::clone(&self.deploy), run: Arc::clone(arena) };
        let executor = Arc::new(Executor::new(Arc::clone(self), phase, run, memory, masks));
        let mut setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        if phase == Phase::Setup {
            *setup = Arc::downgrade(&executor);
        } else if let Some(setup) = setup.upgrade() {
            executor.follow(&setup);
        }
        executor
    }

    /// Waits until the setup is over, where it is not.
    ///
    /// # Errors
    /// What ended it early.
    pub(crate) fn wait_for_setup(&self) -> Result<(), RunError> {
        let setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        setup.map_or(Ok(()), |setup| setup.wait())
    }

    /// Executes one step that is not a `Send`.
    pub(crate) fn execute(
        &self,
        memory: &Memory,
        masks: &Masks,
        op: &StepOp,
        payload: Option<Payload>,
        scratch: &mut Scratch,
    ) -> Result<(), RunError> {
        let mut touched: Vec<Access> = Vec::new();
        accesses(&self.plan, op, &mut touched);
        let done = memory.with(&touched, |buffers| match self.plan.word {
            Word::W32 => self.compute::<u32>(masks, op, payload, buffers, scratch),
            Word::W64 => self.compute::<u64>(masks, op, payload, buffers, scratch),
        });
        done.map_err(|error| self.place(op, error))
    }

    /// Copies a parameter, and drops it where no other step loads it.
    fn load<W: RingWord>(&self, param: usize, out: &mut [W]) {
        let loads =
            |step: &&Step| matches!(step.op, StepOp::Load { param: p, .. } if p as usize == param);
        let once = self.steps(Phase::Setup).iter().filter(loads).count() == 1;
        let mut params = self.params.lock().unwrap_or_else(PoisonError::into_inner);
        let secret = if once { params.take(param) } else { params.get(param) };
        drop(params);
        let secret = secret.as_ref().map(|bytes| bytes.as_slice());
        params::load(self.plan.params[param].public.as_deref(), secret, out);
    }

    pub(crate) fn place(&self, op: &StepOp, error: ArenaError) -> RunError {
        let role = self.role();
        let found = Phase::ALL.into_iter().find_map(|phase| {
            let at = self.steps(phase).iter().position(|s| std::ptr::eq(&raw const s.op, op))?;
            Some((phase, at))
        });
        let (phase, step) = found.unwrap_or((Phase::Online, 0));
        let problem = match error {
            ArenaError::Outside => "a buffer leaves its arena",
            ArenaError::InUse => "a buffer is written while another step uses it",
        };
        PlanError::Step { role, phase, step, rule: problem }.into()
    }

    fn compute<W: RingWord>(
        &self,
        masks: &Masks,
        op: &StepOp,
        payload: Option<Payload>,
        buffers: &mut [Buffer<'_>],
        scratch: &mut Scratch,
    ) {
        match (op, buffers) {
            (StepOp::Map { program, first, count, values, .. }, operands) => {
                let program = &self.plan.programs[*program as usize];
                kernels::map::<W>(program, *first, *count, values, masks, operands, scratch);
            }
            (
                StepOp::Conv { window, groups, x_shape, out_channels, .. },
                [Buffer::Read(x), Buffer::Read(w), Buffer::Write(out)],
            ) => {
                let (x, w, out) = (words::<W>(x), words::<W>(w), words_mut::<W>(out));
                kernels::conv(out, x, w, window, *groups, *x_shape, *out_channels, scratch);
            }
            (
                StepOp::MatMul { batch, mkn, shared_b, .. },
                [Buffer::Read(a), Buffer::Read(b), Buffer::Write(out)],
            ) => {
                let (a, b, out) = (words::<W>(a), words::<W>(b), words_mut::<W>(out));
                kernels::matmul(out, a, b, *batch, *mkn, *shared_b, scratch);
            }
            (
                StepOp::Strided { shape, src_offset, src_strides, dst_offset, dst_strides, .. },
                [Buffer::Read(src), Buffer::Write(dst)],
            ) => {
                let (src, dst) = (words::<W>(src), words_mut::<W>(dst));
                kernels::strided(
                    dst,
                    *dst_offset,
                    dst_strides,
                    src,
                    *src_offset,
                    src_strides,
                    shape,
                );
            }
            (
                StepOp::Gather { outer, extent, inner, indices, .. },
                [Buffer::Read(src), Buffer::Write(dst)],
            ) => {
                let (src, dst) = (words::<W>(src), words_mut::<W>(dst));
                kernels::gather(dst, src, *outer, *extent, *inner, indices);
            }
            (StepOp::Sum { outer, terms, inner, .. }, [Buffer::Read(src), Buffer::Write(dst)]) => {
                kernels::sum(words_mut::<W>(dst), words::<W>(src), *outer, *terms, *inner);
            }
            (StepOp::Fill { value, .. }, [Buffer::Write(dst)]) => {
                words_mut::<W>(dst).fill(W::from_u64(*value));
            }
            (StepOp::Load { param, .. }, [Buffer::Write(dst)]) => {
                self.load(*param as usize, words_mut::<W>(dst));
            }
            (StepOp::Receive { .. }, [Buffer::Write(dst)]) => {
                // The executor makes the step ready when the payload, of the span's length, is here.
                dst.copy_from_slice(&payload.unwrap_or_default());
            }
            // `accesses` lists the buffers in the order matched above.
            _ => unreachable!("the buffers of a step are those that `accesses` lists"),
        }
    }
}

fn reserve(role: Role, bytes: u64) -> Result<Arc<Arena>, RunError> {
    Arena::new(bytes).map(Arc::new).ok_or(RunError::Memory { role, bytes })
}
