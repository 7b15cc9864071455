//! Draws the graphs for the performance page as SVG images that are readable on both light and dark
//! backgrounds.

use std::{error::Error, fs, io, path::Path};

use plotters::{
    coord::ranged1d::{AsRangedCoord, ValueFormatter},
    prelude::*,
};

use super::{
    entrant::{ACTIX, BY_HAND, FLOOR, NCHAN, OURS, PLAIN},
    results::Results,
};
use crate::steps::root;

/// The lines, in the order of the legend. Colour-blind readers can distinguish the colours on both
/// white and near-black backgrounds.
const LINES: [(&str, RGBColor); 6] = [
    (OURS, RGBColor(0x1b, 0x8a, 0x5a)),
    (PLAIN, RGBColor(0x6c, 0xb3, 0x2e)),
    (FLOOR, RGBColor(0x80, 0x80, 0x80)),
    (BY_HAND, RGBColor(0xd5, 0x5e, 0x00)),
    (ACTIX, RGBColor(0x3b, 0x82, 0xd6)),
    (NCHAN, RGBColor(0xb0, 0x5b, 0xb8)),
];

/// A grey that is readable on both black and white backgrounds.
const INK: RGBColor = RGBColor(0x7a, 0x7a, 0x7a);

/// The name, colour and points of a line.
type Line = (&'static str, RGBColor, Vec<(f64, f64)>);

pub(crate) fn draw(results: &Results) -> io::Result<()> {
    let folder = root().join("docs/performance");
    fs::create_dir_all(&folder)?;
    let cpu = lines(|entrant| {
        let points = [
            (10.0, "fan-10"),
            (100.0, "fan-100"),
            (1_000.0, "fan-1k"),
            (5_000.0, "fan-5k"),
            (10_000.0, "fan-10k"),
        ];
        let point = |(subscribers, scenario): (f64, &str)| {
            let spread = results.spread(scenario, entrant, "cpu us/event")?;
            Some((subscribers, spread.median))
        };
        points.into_iter().filter_map(point).collect()
    });
    let memory = lines(|entrant| {
        let point = |streams: u32| {
            let spread = results.spread("idle", entrant, &format!("KiB at {streams}"))?;
            Some((f64::from(streams), spread.median / 1024.0))
        };
        [1_000, 2_500, 5_000, 10_000]
            .into_iter()
            .filter_map(point)
            .collect()
    });
    let texts = [
        (
            "CPU time per delivery, at 50,000 per second (µs)",
            "subscribers",
        ),
        ("memory of quiet streams (MiB)", "streams"),
    ];
    let result = chart(
        &folder.join("cpu.svg"),
        texts[0],
        &cpu,
        (10f64..11_000f64).log_scale(),
    )
    .and_then(|()| {
        chart(
            &folder.join("memory.svg"),
            texts[1],
            &memory,
            0f64..10_500f64,
        )
    });
    result.map_err(|error| io::Error::other(error.to_string()))
}

fn lines(points: impl Fn(&str) -> Vec<(f64, f64)>) -> Vec<Line> {
    let line = |(name, colour)| (name, colour, points(name));
    LINES.into_iter().map(line).collect()
}

fn chart<X>(
    path: &Path,
    (title, below): (&str, &str),
    lines: &[Line],
    x: X,
) -> Result<(), Box<dyn Error>>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let most = lines.iter().flat_map(|(.., points)| points);
    // Leave room for the legend above the lines.
    let most = most.map(|(_, y)| *y).fold(0.0, f64::max) * 1.5;
    // Draw no background, so that the page's background shows through.
    let area = SVGBackend::new(path, (760, 400)).into_drawing_area();
    let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, text(18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(52)
        .build_cartesian_2d(x, 0f64..most)?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(TRANSPARENT)
        .label_style(text(13))
        .x_desc(below)
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&|y| format!("{y}"))
        .draw()?;
    for (name, colour, points) in lines {
        if points.is_empty() {
            continue;
        }
        let style = colour.stroke_width(3);
        chart
            .draw_series(LineSeries::new(points.clone(), style).point_size(4))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(text(14))
        .border_style(INK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
