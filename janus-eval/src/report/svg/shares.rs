//! Stacked bars of shares: the four outcomes of the paper's Figure 3.

use super::canvas::{Canvas, SIZE, SMALL, WIDTH, colour};
use super::text;
use crate::report::figure::ShareChart;
use crate::report::number;

const BAR: f64 = 24.0;

pub(super) fn draw(chart: &ShareChart) -> Canvas {
    let mut canvas = Canvas::default();
    let names: Vec<&str> = chart.parts.iter().map(String::as_str).collect();
    canvas.legend(&names, false);
    let mut y = canvas.height + 2.0;
    for row in &chart.rows {
        let n: usize = row.counts.iter().sum();
        let (lines, cut) = text::wrap(&row.label, SIZE, WIDTH - 4.0, 1);
        let shown = lines.first().map_or("", String::as_str);
        y += 16.0;
        if cut {
            canvas.titled_text(2.0, y, "", shown, &row.label)
        } else {
            canvas.text(2.0, y, "", shown)
        }
        y += 5.0;
        let mut x = 0.0;
        for (part, (&count, name)) in row.counts.iter().zip(&names).enumerate() {
            let share = count as f64 / n.max(1) as f64;
            let width = share * WIDTH;
            let percent = format!("{}%", number::fixed(100.0 * share, 1));
            let hover = format!("{}, {name}: {count} of {n}, {percent}", row.label);
            canvas.rect([x, y], [width, BAR], &format!("fill {}", colour(part)), &hover);
            if text::width(&percent, SMALL) + 6.0 <= width {
                canvas.text(x + width / 2.0, y + BAR / 2.0 + 4.2, "middle on", &percent);
            }
            x += width;
        }
        y += BAR + 4.0;
    }
    canvas.height = y + 4.0;
    canvas
}
