//! A matrix as a page.

use std::fmt::Write;

use compile::policy::{Cell, Matrix};

use super::matrix::{LEGEND, letter, several};

const STYLE: &str = "\
body{font:14px system-ui,sans-serif;margin:2em}table{border-collapse:collapse;margin:0 0 2em}\
td,th{border:1px solid #ccc;padding:2px 6px}th{font-weight:normal;text-align:left}\
td{text-align:center;font-family:monospace}.a{background:#cfc}.d{background:#f99}.o{background:#ffb}\
.i,.n{background:#eee}";

/// One page, which needs no other file and no script. Names in it are escaped.
pub(super) fn page(matrix: &Matrix, columns: &[usize]) -> String {
    let names: Vec<String> = matrix.ends.iter().map(|end| escaped(&end.to_string())).collect();
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Who reaches whom</title>\
         <style>{STYLE}</style></head><body>\n<h1>Who reaches whom</h1>\n<p>{LEGEND}. \
         Rows begin connections, columns answer them.</p>\n"
    );
    for column in columns {
        put(&mut text, format_args!("<h2>{}</h2>\n<table><tr><th></th>", matrix.columns[*column]));
        for (to, name) in names.iter().enumerate() {
            put(&mut text, format_args!("<th title=\"{name}\">{}</th>", to + 1));
        }
        text.push_str("</tr>\n");
        for (from, name) in names.iter().enumerate() {
            put(&mut text, format_args!("<tr><th>{} {name}</th>", from + 1));
            for to in 0..names.len() {
                let cell = matrix.cell(*column, from, to);
                let (class, letter) = (class(cell), letter(cell));
                put(&mut text, format_args!("<td class={class}>{letter}</td>"));
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</table>\n");
    }
    text.push_str("<ol>\n");
    for (end, name) in matrix.ends.iter().zip(&names) {
        let all = several(end).map_or(name.clone(), |all| escaped(&all));
        put(&mut text, format_args!("<li>{all}</li>\n"));
    }
    text.push_str("</ol>\n</body></html>\n");
    text
}

fn class(cell: Cell) -> char {
    match cell {
        Cell::Allowed => 'a',
        Cell::Denied => 'd',
        Cell::Only(_) => 'o',
        Cell::Itself => 'i',
        Cell::Apart => 'n',
    }
}

/// `text` as text of a page, in attributes too.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    write!(text, "{what}").expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_users_name_is_no_markup() {
        assert_eq!(super::escaped("a/<script>\"&'"), "a/&lt;script&gt;&quot;&amp;&#39;");
    }
}
