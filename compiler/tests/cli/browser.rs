//! Timelines in a real browser: headless Chromium draws a page, and the test looks at what came out.
//!
//! `MPCC_CHROMIUM` names the browser; otherwise `chromium` is looked for in `PATH`. Where there is none, the test says so
//! and passes, unless `CI_BROWSER=1` asks for it.

use crate::site::Site;
use flate2::read::ZlibDecoder;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;

const WIDTH: usize = 1400;
const HEIGHT: usize = 1100;
/// Where lanes are: below the legend, right of their names.
const LANES: (usize, usize) = (160, 160);

/// Colours of a light page.
const LINEAR: [u8; 3] = [0x2f, 0x6f, 0xde];
const ELEMENT_WISE: [u8; 3] = [0xe8, 0x83, 0x0c];
const WIRE: [u8; 3] = [0x14, 0x9e, 0x8b];
const WAIT: [u8; 3] = [0xd3, 0xd6, 0xda];

fn browser() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("MPCC_CHROMIUM") {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&paths).map(|folder| folder.join("chromium"));
    found.into_iter().find(|path| path.is_file())
}

/// Runs the browser on a page of the site, with a fresh profile; returns what it prints.
fn open(browser: &PathBuf, site: &Site, page: &str, what: &[String]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
    command.args(["--no-first-run", "--disable-background-networking"]);
    command.args(["--disable-component-update", "--disable-sync", "--hide-scrollbars"]);
    command.args(["--force-device-scale-factor=1", "--virtual-time-budget=3000"]);
    command.arg(format!("--window-size={WIDTH},{HEIGHT}"));
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.args(what).arg(format!("file://{}", site.path(page).display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn pages_show_their_lanes() {
    let Some(browser) = browser() else {
        assert!(std::env::var("CI_BROWSER").as_deref() != Ok("1"), "CI_BROWSER=1, but no chromium");
        // Past the capture of the test harness: a pass must not look like more than it is.
        let _ = writeln!(std::io::stderr(), "no chromium: the timeline was not looked at");
        return;
    };
    let site = Site::compiled();
    site.predict("some", 3.0);
    site.predict("none", 0.0);
    site.stdout("run none.plan -i @x.npy --threads 2 --timeline measured.html");
    site.stdout("run some.plan -i @x.npy --threads 2 --timeline both.html");
    site.stdout("explain some.plan --timeline predicted.html");
    for (page, predicted, measured) in
        [("measured", false, true), ("both", true, true), ("predicted", true, false)]
    {
        let page_file = format!("{page}.html");
        let dom = open(&browser, &site, &page_file, &["--dump-dom".to_owned()]);
        let count = |text: &str| dom.matches(text).count();
        for role in ["P0", "P1", "dealer"] {
            let lanes = |source: &str| {
                count(&format!(r#"data-role="{role}" data-kind="compute" data-source="{source}""#))
            };
            assert_eq!(lanes("predicted") > 0, predicted, "{page} {role}");
            assert_eq!(lanes("measured"), if measured { 2 } else { 0 }, "{page} {role}");
        }
        for (role, kind) in [("P0", "out"), ("P0", "in"), ("dealer", "out")] {
            assert!(count(&format!(r#"data-role="{role}" data-kind="{kind}""#)) > 0, "{page}");
        }
        let lanes = count(r#"class="lane" data-role"#);
        assert!(count(&format!(r#"data-drawn="{lanes}""#)) == 1, "{page}: all {lanes} lanes");
        let (_, about) = dom.split_once("id=\"about\">").unwrap();
        let (about, _) = about.split_once('<').unwrap();
        assert_eq!(about.contains("no prediction in this plan"), !predicted, "{page}: {about}");
        assert!(count("data-total=\"P1\"") > 0, "{page}: totals");

        let picture = site.path(&format!("{page}.png"));
        open(&browser, &site, &page_file, &[format!("--screenshot={}", picture.display())]);
        if let Some(folder) = std::env::var_os("MPCC_SCREENSHOTS") {
            std::fs::copy(&picture, PathBuf::from(folder).join(format!("{page}.png"))).unwrap();
        }
        let pixels = Pixels::read(&std::fs::read(&picture).unwrap());
        assert!(pixels.of(WAIT) > 500 || !measured, "{page}: waits");
        if !measured {
            // What is predicted is the same every time.
            for color in [LINEAR, ELEMENT_WISE, WIRE] {
                assert!(pixels.of(color) > 100, "{page}: {color:02x?}");
            }
        }
        assert!(pixels.distinct() > 8, "{page}: not blank");
    }
}

/// What the mouse finds in the middle of each bar of a compute lane, at any zoom, must be that bar.
const HOVER: &str = r#"<script>
let wrong = 0, bars = 0;
for (const lane of lanes.filter(lane => lane.kind === "compute")) {
  for (const zoom of [1, 1e3, 1e6]) {
    for (let i = 0; i < lane.bars.length; i += WIDTH) {
      const middle = lane.bars[i] + lane.bars[i + TIME] / 2;
      [view.from, view.to] = [middle - 1e7 / zoom, middle + 1e7 / zoom];
      const [, lines] = describe(lane, middle) || [];
      bars += 1;
      if (!lines || lines[0] !== data.words[lane.bars[i + WORDS]] || barAt(lane, middle) !== i) wrong += 1;
    }
  }
}
document.body.dataset.hovered = `${wrong} of ${bars > 0}`;
</script></body>"#;

#[test]
fn the_mouse_finds_the_bar_that_covers_a_time() {
    let Some(browser) = browser() else { return };
    let site = Site::compiled();
    site.predict("some", 3.0);
    site.record_marks("some.plan", "P1.json");
    site.stdout("explain some.plan --timeline t.html --measured P1.json");
    let page = String::from_utf8(site.read("t.html")).unwrap();
    site.write("t.html", page.replace("</body>", HOVER).as_bytes());
    let dom = open(&browser, &site, "t.html", &["--dump-dom".to_owned()]);
    assert!(dom.contains(r#"data-hovered="0 of true""#), "{:?}", dom.split_once("data-hovered"));
}

/// A picture of three or four bytes a pixel.
struct Pixels {
    rows: Vec<Vec<u8>>,
    depth: usize,
}

impl Pixels {
    /// Reads a PNG as Chromium writes it: 8 bits a channel, not interlaced.
    fn read(png: &[u8]) -> Self {
        let mut at = 8;
        let (mut width, mut depth, mut packed) = (0, 3, Vec::new());
        while at + 8 <= png.len() {
            let len = u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
            let chunk = &png[at + 8..at + 8 + len];
            match &png[at + 4..at + 8] {
                b"IHDR" => {
                    width = u32::from_be_bytes(chunk[..4].try_into().unwrap()) as usize;
                    assert_eq!((chunk[8], chunk[12]), (8, 0), "bits, interlacing");
                    depth = if chunk[9] == 6 { 4 } else { 3 };
                }
                b"IDAT" => packed.extend(chunk),
                _ => {}
            }
            at += len + 12;
        }
        let mut raw = Vec::new();
        ZlibDecoder::new(&packed[..]).read_to_end(&mut raw).unwrap();
        let mut rows: Vec<Vec<u8>> = Vec::new();
        for line in raw.chunks_exact(1 + width * depth) {
            let above = rows.last().cloned().unwrap_or_else(|| vec![0; width * depth]);
            rows.push(unfilter(line[0], &line[1..], &above, depth));
        }
        assert_eq!((width, rows.len()), (WIDTH, HEIGHT));
        Self { rows, depth }
    }

    /// The pixels of the lanes.
    fn lanes(&self) -> impl Iterator<Item = [u8; 3]> {
        let (left, top) = LANES;
        let row = move |row: &Vec<u8>| {
            let pixels = row.chunks_exact(self.depth).skip(left);
            pixels.map(|p| [p[0], p[1], p[2]]).collect::<Vec<_>>()
        };
        self.rows.iter().skip(top).flat_map(row)
    }

    fn of(&self, color: [u8; 3]) -> usize {
        self.lanes().filter(|pixel| *pixel == color).count()
    }

    fn distinct(&self) -> usize {
        self.lanes().collect::<std::collections::BTreeSet<_>>().len()
    }
}

/// Undoes the PNG filter of one line.
fn unfilter(filter: u8, line: &[u8], above: &[u8], depth: usize) -> Vec<u8> {
    let mut out = vec![0_u8; line.len()];
    for i in 0..line.len() {
        let left = if i >= depth { out[i - depth] } else { 0 };
        let corner = if i >= depth { above[i - depth] } else { 0 };
        let guess = match filter {
            0 => 0,
            1 => left,
            2 => above[i],
            3 => left.midpoint(above[i]),
            _ => paeth(left, above[i], corner),
        };
        out[i] = line[i].wrapping_add(guess);
    }
    out
}

fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let sum = i16::from(left) + i16::from(above) - i16::from(corner);
    let distance = |value: u8| (sum - i16::from(value)).abs();
    [left, above, corner].into_iter().min_by_key(|value| distance(*value)).unwrap()
}
