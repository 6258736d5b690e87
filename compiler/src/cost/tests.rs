use super::products::{K, M, N, PATCH_K, PATCH_N, PATCHES};
use super::*;
use insta::assert_snapshot;
use mpcc_ir::Window;
use mpcc_ir::plan::{Operand, WordReg};

#[test]
fn the_built_in_profile_is_whole() {
    let machine = Machine::default();
    for rates in [&machine.ring32, &machine.ring64] {
        assert_eq!(rates.products.rates.len(), M.len() * K.len() * N.len());
        let patches = PATCHES.len() * PATCH_K.len() * PATCH_N.len();
        assert_eq!(rates.products.patch_rates.len(), patches);
        let all = rates.tile_ns.values().chain(rates.word_ns.values());
        assert!(all.chain(&rates.products.rates).all(|rate| rate.is_finite() && *rate >= 0.0));
    }
    let text = machine.to_toml().unwrap();
    assert_eq!(toml::from_str::<Machine>(&text).unwrap(), machine);
}

#[test]
fn profiles_with_numbers_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.toml");
    let text = Machine::default().to_toml().unwrap();
    let refusal = |key: &str, value: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        std::fs::write(&path, text.replacen(line, &format!("{key} = {value}"), 1)).unwrap();
        Machine::read(&path)
            .map_err(|error| error.to_string().replace(path.to_str().unwrap(), "m.toml"))
    };
    assert_eq!(refusal("wake_us", "0.0").unwrap().wake_us, 0.0);
    for value in ["nan", "inf", "-1.0", "1e300"] {
        assert!(refusal("wake_us", value).is_err() && refusal("shl", value).is_err(), "{value}");
    }
    assert_snapshot!(refusal("send_us", "-1.0").unwrap_err(), @"`m.toml`: send_us is -1; `mpcc profile machine -o m.toml` measures it again");
    assert_snapshot!(refusal("shl", "-1.0").unwrap_err(), @"`m.toml`: ring32.tile_ns.shl is -1; `mpcc profile machine -o m.toml` measures it again");
    for (key, value) in
        [("group_ns", "0.0"), ("plane_ns", "[1.0]"), ("lanes", "0"), ("lanes", "24")]
    {
        let said = refusal(key, value).unwrap_err();
        assert_eq!(
            said,
            "`m.toml` lacks numbers that can be in ring32.products; `mpcc profile machine -o m.toml` measures it again",
            "{key}"
        );
    }
    assert_snapshot!(refusal("kernels", "'neon'").unwrap_err(), @"`m.toml`: kernels are `neon`, which are not portable, avx2, avx512, amx; `mpcc profile machine -o m.toml` measures it again");
}

#[test]
fn profiles_without_a_rate_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.toml");
    let text = Machine::default().to_toml().unwrap();
    let without = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        std::fs::write(&path, text.replacen(&format!("{line}\n"), "", 1)).unwrap();
        let error = Machine::read(&path).unwrap_err();
        error.to_string().replace(path.to_str().unwrap(), "m.toml")
    };
    assert_snapshot!(without("mul"), @"`m.toml` lacks ring32.tile_ns.mul; `mpcc profile machine -o m.toml` measures it again");
    assert_snapshot!(without("fill"), @"`m.toml` lacks ring32.word_ns.fill; `mpcc profile machine -o m.toml` measures it again");
    assert_snapshot!(without("step_us"), @"`m.toml` is damaged, or of another version of mpcc; `mpcc profile machine -o m.toml` measures it again");
    assert_snapshot!(without("kernels"), @"`m.toml` is not a profile of a machine; give a file that `mpcc profile machine` wrote");
}

#[test]
fn links_have_names_rates_and_round_trips() {
    let link = |text: &str| text.parse::<Link>().unwrap();
    assert_eq!((link("wan").mbit_per_s, link("wan").rtt_ms), (100.0, 40.0));
    assert_eq!((link("10gbit,0.2ms").mbit_per_s, link("10gbit,0.2ms").rtt_ms), (10_000.0, 0.2));
    assert_eq!((link("2.5 Mbit, 1s").mbit_per_s, link("2.5 Mbit, 1s").rtt_ms), (2.5, 1_000.0));
    // 1,448 of 1,500 bytes are payload; a frame has a header of 24 bytes.
    assert!((link("lan1g").send_us(120_601) - 1_000.0).abs() < 1e-9);
    assert!(Link::names().iter().all(|name| name.parse::<Link>().is_ok()));
    for wrong in [
        "",
        "10gbps",
        "10tbit,1ms",
        "1e30gbit,1ms",
        "fast",
        "10gbit",
        "0mbit,1ms",
        "1gbit,-1ms",
        "nanbit,1ms",
        "1gbit,1",
        "0.1kbit,1ms",
        "1gbit,101s",
    ] {
        assert!(wrong.parse::<Link>().is_err(), "{wrong}");
    }
}

/// A profile with a rate that depends on the shape alone: the sum of the grid's positions.
fn products() -> Products {
    let rates = (0..M.len() * K.len() * N.len()).map(|at| 1.0 + at as f64).collect();
    Products {
        lanes: 16,
        rates,
        patch_rates: vec![0.5; PATCHES.len() * PATCH_K.len() * PATCH_N.len()],
        plane_ns: vec![2.0; 5],
        stride_plane_ns: vec![4.0; 5],
        group_ns: 8.0,
    }
}

#[test]
fn products_between_measured_shapes_cost_something_in_between() {
    let products = products();
    let rate = |[m, k, n]: [usize; 3]| (m * k * n) as f64 / products.gemm_ns([m, k, n]);
    assert!((rate([1, 4, 1]) - 1.0).abs() < 1e-9);
    assert!((rate([1, 4, 8]) - 2.0).abs() < 1e-9);
    assert!(rate([1, 4, 3]) > 1.0 && rate([1, 4, 3]) < 2.0);
    assert!((rate([9999, 9999, 9984]) - products.rates.len() as f64).abs() < 1e-6);
    assert_eq!(products.gemm_ns([0, 4, 4]), 0.0);
    assert_eq!(products.gemm_ns([8, 64, 40]), products.gemm_ns([8, 64, 48]));
}

#[test]
fn convolutions_are_products_of_their_patches() {
    let products = products();
    let window =
        |stride| Window { kernel: [3; 2], strides: [stride; 2], dilations: [1; 2], pads: [1; 4] };
    let conv = |window, groups, images, extent, outputs| {
        products.conv_ns(&window, groups, [images, extent, extent, 16], outputs)
    };
    assert!((conv(window(1), 1, 3, 14, 64) - 2.0 * (3 * 196 * 144 * 64) as f64).abs() < 1e-3);
    assert!((conv(window(1), 2, 1, 14, 64) - 2.0 * (196 * 72 * 64) as f64).abs() < 1e-3);
    let pointwise = Window { kernel: [1; 2], pads: [0; 4], ..window(1) };
    let whole = products.gemm_ns([3 * 196, 16, 64]);
    assert!((conv(pointwise, 1, 3, 14, 64) - whole).abs() < 1e-6);
    assert_eq!(conv(window(1), 16, 1, 14, 16), 2.0 * (16 * 196 * 9) as f64);
    assert_eq!(conv(window(2), 16, 1, 28, 16), 4.0 * (16 * 196 * 9) as f64);
    assert_eq!(conv(window(1), 4, 1, 14, 16), 8.0 * (16 * 196 * 36) as f64);
}

#[test]
fn a_program_costs_what_its_instructions_cost() {
    let mut rates = Machine::default().ring32;
    rates.tile_ns =
        [("load".to_owned(), 1.0), ("add".to_owned(), 0.25), ("pack 12".to_owned(), 2.0)].into();
    let (dst, a, b) = (WordReg(1), WordReg(0), WordReg(0));
    let program = TileProgram {
        operands: vec![
            Operand { kind: OperandKind::Words, write: false },
            Operand { kind: OperandKind::Packed { bits: 12 }, write: true },
        ],
        word_regs: 2,
        ops: vec![
            TileOp::Load { dst: a, operand: 0 },
            TileOp::Add { dst, a, b },
            TileOp::Sub { dst, a, b },
            TileOp::Pack { src: dst, operand: 1 },
        ],
        ..TileProgram::default()
    };
    assert_eq!(rates.program_ns(&program), 3.5);
}
