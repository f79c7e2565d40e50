//! `seaway policy matrix`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use compile::policy::{Cell, End, Matrix, PortSet, Who};
use model::Family;
use serde_json::{Value, json};

use super::super::print;
use super::{Judged, Port, Source, html};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only pods of these namespaces.
    #[arg(short, long, value_delimiter = ',')]
    namespace: Vec<String>,
    /// Only this port: tcp/80, udp/53, sctp/9, or icmp.
    #[arg(short, long)]
    port: Option<Port>,
    /// How to print it.
    #[arg(short, long, default_value = "table", value_enum)]
    output: Format,
    #[command(flatten)]
    source: Source,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A table for each group of ports.
    Table,
    /// The same, for programs.
    Json,
    /// One page that needs nothing else.
    Html,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let objects = args.source.read()?;
    objects.tell();
    let judged = Judged::new(objects.world, objects.learned);
    let namespaces: BTreeSet<Arc<str>> =
        args.namespace.iter().map(|name| (&**name).into()).collect();
    let matrix = Matrix::of(&judged.judge(), &namespaces);
    let is_wanted = |ports: &PortSet| match args.port {
        None => true,
        Some(Port { protocol: Some(protocol), port }) => ports.has(protocol, port),
        Some(Port { protocol: None, .. }) => ports.others,
    };
    let numbered = matrix.columns.iter().enumerate();
    let columns: Vec<usize> = numbered.filter(|(_, p)| is_wanted(p)).map(|(i, _)| i).collect();
    print(&match args.output {
        Format::Table => table(&matrix, &columns),
        Format::Json => format!("{}\n", document(&matrix, &columns)),
        Format::Html => html::page(&matrix, &columns),
    });
    Ok(ExitCode::SUCCESS)
}

/// A letter for a cell, as other tools for policies have them.
pub(super) fn letter(cell: Cell) -> char {
    match cell {
        Cell::Allowed => '.',
        Cell::Denied => 'X',
        Cell::Only(Family::V4) => '4',
        Cell::Only(Family::V6) => '6',
        Cell::Itself => '#',
        Cell::Apart => '-',
    }
}

/// What the letters mean.
pub(super) const LEGEND: &str = ". allowed, X dropped, 4 allowed over IPv4 alone, 6 over IPv6 alone, # a pod and itself, - no connection";

/// For each group of ports a line per client and a column per server; then who stands for several.
fn table(matrix: &Matrix, columns: &[usize]) -> String {
    let names: Vec<String> = matrix.ends.iter().map(ToString::to_string).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let digits = names.len().to_string().len();
    let mut text = String::new();
    for column in columns {
        line(&mut text, format_args!("{}", matrix.columns[*column]));
        let head: String = (1..=names.len()).map(|number| format!(" {number:>digits$}")).collect();
        line(&mut text, format_args!("  {:>digits$} {:width$} {head}", "", "from \\ to"));
        for (from, name) in names.iter().enumerate() {
            let cell = |to| format!(" {:>digits$}", letter(matrix.cell(*column, from, to)));
            let cells: String = (0..names.len()).map(cell).collect();
            let row = format!("  {:>digits$} {name:width$} {cells}", from + 1);
            line(&mut text, format_args!("{}", row.trim_end()));
        }
        text.push('\n');
    }
    line(&mut text, format_args!("{LEGEND}"));
    for (number, end) in matrix.ends.iter().enumerate() {
        if let Some(all) = several(end) {
            line(&mut text, format_args!("{:>digits$}: {all}", number + 1));
        }
    }
    text
}

/// Everybody that an end stands for, if it has no name of its own.
pub(super) fn several(end: &End) -> Option<String> {
    let all: Vec<String> = match &end.who {
        Who::Pods(pods) => pods.iter().map(ToString::to_string).collect(),
        Who::Outside(nets) => nets.iter().map(ToString::to_string).collect(),
    };
    (all.len() > 1).then(|| all.join(", "))
}

fn document(matrix: &Matrix, columns: &[usize]) -> Value {
    let all = 0..matrix.ends.len();
    // A letter for each server, so that a thousand pods are a file that can be read.
    let columns = columns.iter().map(|column| {
        let row = |from| -> String {
            all.clone().map(|to| letter(matrix.cell(*column, from, to))).collect()
        };
        let mut table = ports(&matrix.columns[*column]);
        table["rows"] = all.clone().map(row).collect();
        table
    });
    json!({
        "ends": matrix.ends.iter().map(end).collect::<Vec<_>>(),
        "tables": columns.collect::<Vec<_>>(),
    })
}

/// An end, for programs.
pub(super) fn end(end: &End) -> Value {
    let strings = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<String>>();
    match &end.who {
        Who::Pods(pods) => json!({ "pods": strings(&mut pods.iter().map(ToString::to_string)) }),
        Who::Outside(nets) => {
            json!({ "outside": strings(&mut nets.iter().map(ToString::to_string)) })
        }
    }
}

/// Ports, for programs.
pub(super) fn ports(ports: &PortSet) -> Value {
    let mut all = json!({ "text": ports.to_string(), "otherProtocols": ports.others });
    for (protocol, ranges) in &ports.ports {
        all[protocol.to_string()] =
            ranges.iter().map(|(first, last)| json!([first, last])).collect();
    }
    all
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("a String takes any text");
}
