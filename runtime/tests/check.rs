//! Plans that would make a step go wrong are refused before anything runs.

mod common;

use common::product_plan;
use mpcc_ir::Window;
use mpcc_ir::nn::ClearOp;
use mpcc_ir::plan::{
    BitReg, OperandKind, Phase, Plan, Region, Role, Step, StepOp, TileOp, Word, WordReg,
};
use mpcc_runtime::check::check_plan;

/// What the check says about the product plan after a change.
fn after(change: impl FnOnce(&mut Plan)) -> String {
    let mut plan = product_plan(2, Word::W32, 600);
    assert_eq!(check_plan(&plan), Ok(()));
    change(&mut plan);
    check_plan(&plan).map_or_else(|error| error.to_string(), |()| "accepted".into())
}

/// The same for the first online step that `pick` accepts.
fn with_step(pick: impl Fn(&StepOp) -> bool, change: impl FnOnce(&mut Step)) -> String {
    after(|plan| {
        change(
            plan.roles[0]
                .online
                .iter_mut()
                .find(|step| pick(&step.op))
                .expect("the plan has such a step"),
        );
    })
}

fn is_map(op: &StepOp) -> bool {
    matches!(op, StepOp::Map { .. })
}

/// The same with another first online step of `P_0`, which has two words to read and two to write.
fn with_op(op: impl FnOnce([mpcc_ir::plan::Span; 3]) -> StepOp) -> String {
    let span = |at| mpcc_ir::plan::Span { region: Region::Run, at, len: 16 };
    let op = op([span(0), span(64), span(128)]);
    let said = after(|plan| {
        let step = &mut plan.roles[0].online[0];
        step.op = op;
    });
    said.trim_start_matches("plan: P0, online step 0: ").replace("; compile the model again", "")
}

#[test]
fn spans_leave_neither_arena_nor_role() {
    let said = with_step(is_map, |step| {
        if let StepOp::Map { spans, .. } = &mut step.op {
            spans[0].at = 1 << 40;
        }
    });
    insta::assert_snapshot!(said, @"plan: P0, online step 1: a buffer leaves its arena; compile the model again");
    let said = with_step(is_map, |step| {
        if let StepOp::Map { spans, .. } = &mut step.op {
            spans[0].at = u64::MAX - 3;
        }
    });
    insta::assert_snapshot!(said, @"plan: P0, online step 1: a buffer leaves its arena; compile the model again");
    let said = with_step(
        |op| matches!(op, StepOp::Receive { .. }),
        |step| {
            if let StepOp::Receive { dst, .. } = &mut step.op {
                (dst.region, dst.at) = (Region::Deploy, 0);
            }
        },
    );
    insta::assert_snapshot!(said, @"plan: P0, online step 0: runs do not write what a deployment keeps; compile the model again");
    let said = with_step(is_map, |step| {
        if let StepOp::Map { count, .. } = &mut step.op {
            *count += 1;
        }
    });
    insta::assert_snapshot!(said, @"plan: P0, online step 1: a buffer's length does not match its shape; compile the model again");
}

#[test]
fn messages_travel_once_between_their_roles() {
    let is_send = |op: &StepOp| matches!(op, StepOp::Send { .. });
    let said = with_step(is_send, |step| {
        if let StepOp::Send { message, .. } = &mut step.op {
            *message = 0;
        }
    });
    insta::assert_snapshot!(said, @"plan: P0, online step 2: a role sends its own messages; compile the model again");
    let said = with_step(is_send, |step| {
        if let StepOp::Send { message, .. } = &mut step.op {
            *message = 99_999;
        }
    });
    insta::assert_snapshot!(said, @"plan: P0, online step 2: no such message; compile the model again");
    let said = after(|plan| {
        let steps = &mut plan.roles[0].online;
        let again = steps.iter().find(|step| is_send(&step.op)).unwrap().clone();
        steps.push(again);
    });
    insta::assert_snapshot!(said, @"plan: P0, online step 12: a message travels once; compile the model again");
    insta::assert_snapshot!(after(|plan| plan.messages[0].bytes = 1 << 40), @"plan: message 0: goes to another role and has at most 2 GiB; compile the model again");
    insta::assert_snapshot!(after(|plan| plan.inputs[0].masked[0] = 0), @"plan: input `x`: messages match the port's shape, ring and roles; compile the model again");
    insta::assert_snapshot!(after(|plan| plan.outputs[0].ring = 65), @"plan: output `y`: messages match the port's shape, ring and roles; compile the model again");
    insta::assert_snapshot!(after(|plan| plan.params[0].elements = u64::MAX), @"plan: parameter `s`: it has too many elements; compile the model again");
    insta::assert_snapshot!(
        after(|plan| plan.outputs[0].clear = vec![ClearOp::Softmax { axis: 7 }]), @"plan: output `y`: an axis of a clear operation is out of range; compile the model again"
    );
}

#[test]
fn steps_and_roles_are_in_order() {
    insta::assert_snapshot!(after(|plan| plan.roles[0].online[0].after = vec![0]), @"plan: P0, online step 0: a step comes after those that it depends on; compile the model again");
    insta::assert_snapshot!(after(|plan| plan.roles.swap(0, 1)), @"plan: roles: compute parties come in order, then the dealer; compile the model again");
    insta::assert_snapshot!(after(|plan| plan.parties = 200), @"plan: parties: there are 2 to 64 compute parties; compile the model again");
}

#[test]
fn programs_stay_in_their_registers() {
    let with = |op: TileOp| {
        let said = after(|plan| plan.programs[0].ops.push(op));
        said.trim_start_matches("plan: program 0: ").replace("; compile the model again", "")
    };
    let (w, none) = (WordReg(0), WordReg(99));
    insta::assert_snapshot!(with(TileOp::Neg { dst: none, a: w }), @"no such word register");
    insta::assert_snapshot!(with(TileOp::Not { dst: BitReg(0), a: BitReg(0) }), @"no such bit register");
    insta::assert_snapshot!(with(TileOp::ShiftLeft { dst: w, a: w, by: 32 }), @"a shift is shorter than a word");
    insta::assert_snapshot!(with(TileOp::Load { dst: w, operand: 9 }), @"no such operand");
    insta::assert_snapshot!(with(TileOp::Unpack { dst: w, operand: 0 }), @"an instruction does not fit its operand's layout");
    insta::assert_snapshot!(with(TileOp::Random { dst: w, value: 9, party: 0, bits: 8 }), @"no such value slot");
    insta::assert_snapshot!(with(TileOp::Random { dst: w, value: 0, party: 9, bits: 8 }), @"no such party");
    insta::assert_snapshot!(with(TileOp::Random { dst: w, value: 0, party: 0, bits: 33 }), @"a mask has 1 bit to a word");
    let said = after(|plan| plan.programs[0].operands[0].kind = OperandKind::Packed { bits: 0 });
    insta::assert_snapshot!(said, @"plan: program 0: packed elements have 1 bit to a word; compile the model again");
    let stolen = after(|plan| {
        let ops = plan.programs.iter_mut().flat_map(|program| &mut program.ops);
        for op in ops {
            if let TileOp::Random { party, .. } = op {
                *party = 1 - *party;
            }
        }
    });
    insta::assert_snapshot!(stolen, @"plan: P0, setup step 1: a role derives masks of seeds that it holds; compile the model again");
}

#[test]
fn kernels_get_the_lengths_that_they_want() {
    let window = Window { kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0; 4] };
    let conv = |window: Window, groups| {
        with_op(|[x, w, out]| StepOp::Conv {
            window,
            groups,
            x_shape: [1, 2, 2, 1],
            out_channels: 1,
            x,
            w: mpcc_ir::plan::Span { len: 4, ..w },
            out,
        })
    };
    insta::assert_snapshot!(conv(window, 1), @"accepted");
    insta::assert_snapshot!(conv(window, 2), @"groups divide the channels");
    insta::assert_snapshot!(conv(Window { kernel: [2, 2], ..window }, 1), @"a buffer's length does not match its shape");
    insta::assert_snapshot!(conv(Window { strides: [0, 1], ..window }, 1), @"strides and dilations are at least one");
    insta::assert_snapshot!(conv(Window { kernel: [3, 1], ..window }, 1), @"no window fits into the image");
    let far = Window { strides: [1 << 20; 2], pads: [1 << 20; 4], ..window };
    insta::assert_snapshot!(conv(far, 1), @"padding is most of the image");
    insta::assert_snapshot!(conv(Window { pads: [usize::MAX, 0, 0, 0], ..window }, 1), @"a window or image is too large");
    let matmul = |m, b_len| {
        with_op(|[a, b, out]| StepOp::MatMul {
            batch: 1,
            mkn: [m, 2, 2],
            shared_b: true,
            a,
            b: mpcc_ir::plan::Span { len: b_len, ..b },
            out,
        })
    };
    insta::assert_snapshot!(matmul(2, 16), @"accepted");
    insta::assert_snapshot!(matmul(usize::MAX, 16), @"a buffer's length does not match its shape");
    insta::assert_snapshot!(matmul(2, 12), @"a buffer's length does not match its shape");
    let strided = |src_offset, stride, dst_stride| {
        with_op(|[src, _, dst]| StepOp::Strided {
            shape: vec![4],
            src,
            src_offset,
            src_strides: vec![stride],
            dst,
            dst_offset: 0,
            dst_strides: vec![dst_stride],
        })
    };
    insta::assert_snapshot!(strided(3, -1, 1), @"accepted");
    insta::assert_snapshot!(strided(2, -1, 1), @"a strided view leaves its buffer");
    insta::assert_snapshot!(strided(0, i64::MAX, 1), @"a strided view leaves its buffer");
    insta::assert_snapshot!(strided(0, 1, 0), @"destination strides are positive");
    let gather = |index| {
        with_op(|[src, _, dst]| StepOp::Gather {
            outer: 1,
            extent: 4,
            inner: 1,
            indices: vec![index; 4],
            src,
            dst,
        })
    };
    insta::assert_snapshot!(gather(3), @"accepted");
    insta::assert_snapshot!(gather(4), @"an index is out of range");
    let sum = |terms| with_op(|[src, _, dst]| StepOp::Sum { outer: 4, terms, inner: 1, src, dst });
    insta::assert_snapshot!(sum(1), @"accepted");
    insta::assert_snapshot!(sum(2), @"a buffer's length does not match its shape");
    insta::assert_snapshot!(with_op(|[_, _, dst]| StepOp::Load { param: 0, dst }), @"a buffer's length does not match its shape");
    insta::assert_snapshot!(with_op(|[_, _, dst]| StepOp::Load { param: 9, dst }), @"no such parameter");
    let overlap =
        with_op(|[src, _, _]| StepOp::Sum { outer: 4, terms: 1, inner: 1, src, dst: src });
    insta::assert_snapshot!(overlap, @"a step's results do not overlap its operands");
}

#[test]
fn phases_keep_to_their_messages() {
    let said = after(|plan| {
        let step = plan.roles[2].offline.pop().unwrap();
        assert_eq!(plan.roles[2].role, Role::Dealer);
        plan.roles[2].online.push(Step { after: vec![], ..step });
    });
    insta::assert_snapshot!(said, @"plan: dealer, online step 0: the message belongs to another phase; compile the model again");
    let said = after(|plan| plan.messages[2].phase = Phase::Online);
    insta::assert_snapshot!(said, @"plan: parameter `s`: messages match its size and roles; compile the model again");
}
