//! What expressions come to, and which are refused.
use serde_json::{Value, json};

use super::*;
use crate::crd::Structural;

/// A schema with a field of every sort.
fn schema() -> Structural {
    Structural::read_whole(&json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "d": {"type": "number"}, "s": {"type": "string"},
        "b": {"type": "boolean"}, "none": {"type": "string"},
        "either": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "items": {"type": "integer"}},
        "words": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "properties": {
                "name": {"type": "string"}, "port": {"type": "integer"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "in": {"type": "string"}, "a-b": {"type": "string"}, "x.y/z": {"type": "string"},
        "a__b": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "span": {"type": "string", "format": "duration"},
        "raw": {"type": "string", "format": "byte"},
        "maybe": {"type": "string", "nullable": true},
    }}))
}

fn object() -> Value {
    json!({
        "metadata": {"name": "web"},
        "n": 7, "d": 2, "s": "Hello", "b": true, "either": "80%", "list": [3, 1, 2],
        "words": ["a", "b"], "keyed": [{"name": "x", "port": 1}, {"name": "y", "port": 2}],
        "map": {"k": "v", "in": "w"}, "in": "reserved", "a-b": "dash", "x.y/z": "signs",
        "a__b": "under", "at": "2024-02-29T12:30:45.5Z", "span": "1h30m", "raw": "aGk=",
        "maybe": null,
    })
}

fn run(text: &str, old: Option<&Value>, optional_old: bool) -> Result<Answer, String> {
    let (schema, object) = (schema(), object());
    let program = Program::compile(text, &schema, true, optional_old, Gives::Bool)?;
    let place = Place { schema: &schema, value: &object, old, optional_old };
    Ok(program.run(&place, &mut 1_000_000, 1_000_000))
}

/// Expressions that are true of [`object`].
const TRUE: &str = r#"
    1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 / 2 == 3 && 7 % 4 == 3 && -7 / 2 == -3
    1.5 + 1.0 == 2.5 && 3u - 1u == 2u && 0x1F == 31 && 1e3 == 1000.0
    self.n == 7 && self.n != 8 && self.n > 6 && self.n >= 7 && self.n < 8 && self.n <= 7
    self.d == 2.0 && self.d / 4.0 == 0.5 && self.d < 3
    !(self.n > 8) || false
    self.n > 8 ? false : self.b
    has(self.s) && !has(self.none) && has(self.metadata.name)
    has(self.none) || self.s == 'Hello'
    self.none == 'x' || true
    !(self.none == 'x' && false)
    self.metadata.name == 'web'
    self.s == "Hello" && self.s == r'Hello' && self.s == """Hello"""
    'a\tb' == "a	b" && '\x41\u0042\103' == 'ABC' && r'\d' == '\\d'
    self.s + ' you' == 'Hello you'
    'ell' in ['ell', 'x'] && !(3 in [1, 2]) && 'k' in self.map && !('q' in self.map)
    self.__in__ == 'reserved' && self.a__dash__b == 'dash' && self.a__underscores__b == 'under'
    self.x__dot__y__slash__z == 'signs' && has(self.__in__)
    self.map.k == 'v' && self.map['in'] == 'w' && self.map[self.s] == 'x' || true
    self.list.all(i, i > 0) && self.list.exists(i, i == 2) && self.list.exists_one(i, i == 3)
    self.list.map(i, i * 2) == [6, 2, 4] && self.list.map(i, i > 1, i) == [3, 2]
    self.list.filter(i, i > 1) == [3, 2] && self.list.filter(i, i > 9) == []
    self.map.all(k, k.size() > 0) && self.map.exists(k, self.map[k] == 'v')
    self.list.all(i, i > 0 || i / 0 > 1)
    self.list.exists(i, i / (i - 1) == 2)
    size(self.list) == 3 && self.list.size() == 3 && size('äö') == 2 && self.map.size() == 2
    self.list[0] == 3 && self.keyed[1].name == 'y'
    self.keyed == dyn([{'name': 'y', 'port': 2}, {'name': 'x', 'port': 1}])
    self.words == ['b', 'a'] && !(self.list == [1, 2, 3])
    self.words + ['b', 'c'] == ['a', 'b', 'c']
    self.s.startsWith('He') && self.s.endsWith('lo') && self.s.contains('ell')
    self.s.matches('^[A-Z][a-z]+$') && !self.s.matches('^x') && matches(self.s, 'l+')
    self.s.find('l+') == 'll' && 'a1b2'.findAll('[0-9]') == ['1', '2']
    'a1b2'.findAll('[0-9]', 1) == ['1']
    self.s.lowerAscii() == 'hello' && self.s.upperAscii() == 'HELLO' && ' x '.trim() == 'x'
    self.s.charAt(1) == 'e' && self.s.indexOf('l') == 2 && self.s.lastIndexOf('l') == 3
    self.s.indexOf('l', 3) == 3 && self.s.indexOf('q') == -1 && self.s.lastIndexOf('l', 2) == 2
    self.s.substring(1) == 'ello' && self.s.substring(1, 3) == 'el' && 'abc'.reverse() == 'cba'
    self.s.replace('l', 'L') == 'HeLLo' && self.s.replace('l', 'L', 1) == 'HeLlo'
    'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']
    ['a', 'b'].join('-') == 'a-b' && ['a', 'b'].join() == 'ab'
    '%s is %d, %.2f, %x'.format(['n', 7, 1.5, 255]) == 'n is 7, 1.50, ff'
    strings.quote('a"b') == '"a\\"b"'
    [1, 2, 3].isSorted() && ![2, 1].isSorted() && self.list.sum() == 6
    self.list.min() == 1 && self.list.max() == 3 && self.list.indexOf(1) == 1
    [1, 2, 1].lastIndexOf(1) == 2 && [1, 2].reverse() == [2, 1] && [1, 2, 3].slice(1, 2) == [2]
    sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1])
    int('7') == 7 && int(7.9) == 7 && uint(7) == 7u && double(7) == 7.0 && string(7) == '7'
    double('1.5') == 1.5 && bool('true') && string(1.5) == '1.5' && bytes('hi') == b'hi'
    type(1) == int && type('a') == string && dyn(1) == 1
    self.raw == b'hi' && string(self.raw) == 'hi'
    duration('90m') == self.span && self.span.getMinutes() == 90 && self.span.getHours() == 1
    duration('1m').getSeconds() == 60 && duration('1s').getMilliseconds() == 1000
    duration('1s') < duration('2s') && duration('1s') + duration('1s') == duration('2s')
    self.at.getFullYear() == 2024 && self.at.getMonth() == 1 && self.at.getDate() == 29
    self.at.getDayOfMonth() == 28 && self.at.getDayOfWeek() == 4 && self.at.getDayOfYear() == 59
    self.at.getHours() == 12 && self.at.getMinutes() == 30 && self.at.getSeconds() == 45
    self.at.getMilliseconds() == 500 && self.at.getHours('UTC') == 12
    timestamp('2024-01-01T00:00:00Z') < self.at
    self.at - timestamp('2024-02-29T12:30:45Z') == duration('500ms')
    self.at + duration('1h') > self.at
    isIP('10.0.0.1') && !isIP('10.0.0.256') && !isIP('::ffff:1.2.3.4') && isIP('fe80::1')
    ip('10.0.0.1').family() == 4 && ip('::1').isLoopback() && ip('0.0.0.0').isUnspecified()
    ip('8.8.8.8').isGlobalUnicast() && ip('169.254.0.1').isLinkLocalUnicast()
    ip('224.0.0.1').isLinkLocalMulticast() && ip.isCanonical('::1') && !ip.isCanonical('0::1')
    string(ip('10.0.0.1')) == '10.0.0.1' && ip('10.0.0.1') == ip('10.0.0.1')
    isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0') && cidr('10.0.0.0/8').prefixLength() == 8
    cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))
    cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('::/0').containsCIDR(cidr('fd00::/8'))
    cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.1.2.3/8').ip() == ip('10.1.2.3')
    isURL('https://a.example:8443/p?q=1') && !isURL('nope') && isURL('/path')
    url('https://a.example:8443/p?q=1').getHost() == 'a.example:8443'
    url('https://a.example:8443/p?q=1').getHostname() == 'a.example'
    url('https://a.example:8443/p?q=1').getPort() == '8443'
    url('https://a.example:8443/p?q=1').getScheme() == 'https'
    url('https://a.example:8443/p?q=1').getEscapedPath() == '/p'
    url('https://a.example/p?q=1&q=2').getQuery()['q'] == ['1', '2']
    isQuantity('1.5Gi') && !isQuantity('x') && quantity('1k').isGreaterThan(quantity('900'))
    quantity('500m').isLessThan(quantity('1')) && quantity('1Ki').asInteger() == 1024
    quantity('1').add(quantity('2')).compareTo(quantity('3')) == 0 && quantity('-1').sign() == -1
    quantity('3').sub(1) == quantity('2') && quantity('2').isInteger()
    quantity('500m').asApproximateFloat() == 0.5 && quantity('1').add(1) == quantity('2')
    self.?none.orValue('x') == 'x' && self.?s.orValue('x') == 'Hello' && !self.?none.hasValue()
    self.map[?'q'].orValue('x') == 'x' && self.list[?9].orValue(5) == 5
    optional.of(1).value() == 1 && optional.none().orValue(2) == 2
    optional.none().or(optional.of(3)).value() == 3 && !optional.ofNonZeroValue('').hasValue()
    self.?s.optMap(v, v + '!').orValue('') == 'Hello!'
    self.?s.optFlatMap(v, self.?none).orValue('none') == 'none'
    format.dns1123Label().validate('a-b') == optional.none()
    format.dns1123Label().validate('A').hasValue()
    !format.qualifiedName().validate('example.com/a').hasValue()
    format.dns1123Subdomain().validate('a.b') == optional.none()
    format.dns1035Label().validate('1a').hasValue()
    format.dns1123LabelPrefix().validate('a-') == optional.none()
    format.dns1123SubdomainPrefix().validate('a.b-') == optional.none()
    format.dns1035LabelPrefix().validate('a-') == optional.none()
    format.labelValue().validate('a b').hasValue() && format.uuid().validate('x').hasValue()
    !format.uri().validate('https://a').hasValue() && format.date().validate('x').hasValue()
    !format.byte().validate('aGk=').hasValue() && format.datetime().validate('x').hasValue()
    format.named('dns1123Label').hasValue() && !format.named('nope').hasValue()
    self.either == '80%' && type(self.either) == string
    self.maybe == null && has(self.maybe)
    {'a': 1}.a == 1 && {'a': 1}['a'] == 1 && {'a': 1} == {'a': 1} && size({1: 2}) == 1
    [1, 2] == [1, 2] && [] == [] && [1] + [2] == [1, 2] && dyn(1) == 1.0
    self.s.size() == 5 // a comment
    (has(self.s) ? 1 : 0) + (has(self.none) ? 1 : 0) == 1
    self.list.size() > 0 ? self.list[0] == 3 : false"#;

#[test]
fn expressions_come_to_what_cel_says() {
    let wrong = |line: &&str| run(line.trim(), None, false) != Ok(Answer::Bool(true));
    let wrong: Vec<_> = TRUE.trim().lines().filter(wrong).collect();
    let said: Vec<_> = wrong.iter().map(|line| (line, run(line.trim(), None, false))).collect();
    assert!(wrong.is_empty(), "{said:#?}");
}

#[test]
fn what_was_there_before_can_be_compared_with() {
    let old = json!({"n": 6, "s": "Hello"});
    let cases = [
        ("self.n > oldSelf.n", false, true),
        ("self.s != oldSelf.s", false, false),
        ("oldSelf.hasValue() && oldSelf.value().n == 6", true, true),
        ("oldSelf.n.orValue(0) == 6", true, true),
    ];
    for (text, optional, expected) in cases {
        assert_eq!(run(text, Some(&old), optional), Ok(Answer::Bool(expected)), "{text}");
    }
    assert_eq!(run("!oldSelf.hasValue()", None, true), Ok(Answer::Bool(true)));
}

#[test]
fn what_fails_says_why() {
    let cases = [
        ("self.none == 'x'", "no such key: none"),
        ("self.list[9] == 1", "index out of bounds: 9"),
        ("1 / (self.n - 7) == 1", "division by zero"),
        ("1 % (self.n - 7) == 1", "modulus by zero"),
        ("9223372036854775807 + self.n == 1", "integer overflow"),
        ("duration('x') == duration('1s')", "duration \"x\" can not be parsed"),
        ("self.s.substring(9) == ''", "invalid substring range. start: 9, end: 5"),
        ("self.either > 1", "no such overload: string > int"),
        ("self.s.matches(self.s + '(')", "error parsing regexp: unclosed group"),
        ("optional.none().value() == 1", "optional.none() dereference"),
    ];
    for (text, expected) in cases {
        assert_eq!(run(text, None, false), Ok(Answer::Error(expected.to_owned())), "{text}");
    }
}

#[test]
fn what_can_not_work_is_refused_before_there_is_an_object() {
    let cases = [
        ("self.nope", "1:5: undefined field 'nope'"),
        ("self.metadata.labels.a == 'x'", "undefined field 'labels'"),
        ("other == 1", "1:1: undeclared reference to 'other' (in container '')"),
        ("self.s.nope()", "undeclared reference to 'nope'"),
        ("self.s + 1 == ''", "found no matching overload for '_+_' applied to '(string, int)'"),
        ("self.s == 1", "found no matching overload for '_==_' applied to '(string, int)'"),
        ("self.s.startsWith(1)", "applied to 'string.(int)'"),
        ("size(self.n) == 1", "found no matching overload for 'size' applied to '(int)'"),
        ("self.s && true", "found no matching overload for '_&&_'"),
        ("self.n.all(x, true)", "expression of type 'int' cannot be range of a comprehension"),
        ("self.list.all(x, x)", "found no matching overload"),
        ("self.list.all(1, true)", "argument must be a simple name"),
        ("self.s", "cel expression must evaluate to a bool"),
        ("has(self)", "invalid argument to has() macro"),
        ("self.s ==", "Syntax error: mismatched input '<EOF>'"),
        ("self.s = 'x'", "token recognition error at: '='"),
        ("'abc", "unterminated string"),
        ("while(true)", "undeclared reference to 'while'"),
        ("for == 1", "reserved identifier: for"),
    ];
    for (text, expected) in cases {
        let refused = run(text, None, false).unwrap_err();
        assert!(refused.contains(expected), "{text}: {refused}");
    }
    let drawing = run("true &&\n  self.nope", None, false).unwrap_err();
    let expected = "compilation failed: ERROR: <input>:2:7: undefined field 'nope'\n |   self.nope\n | ......^";
    assert_eq!(drawing, expected);
}

#[test]
fn no_expression_hangs_or_overflows() {
    let list = format!("[{}]", vec!["1"; 60].join(","));
    let mut deep = "true".to_owned();
    for n in 0..8 {
        deep = format!("{list}.all(x{n}, {deep})");
    }
    let expensive = [
        deep,
        format!(
            "{list}.map(a, {list}.map(b, {list}.map(c, 'x{}'.replace('', 'yyyy')))) == []",
            "z".repeat(900)
        ),
    ];
    for text in expensive {
        assert_eq!(run(&text, None, false), Ok(Answer::TooExpensive), "{}", &text[..60]);
    }
    for nested in ["(", "[", "!", "-", "{'a':", "f(", "a ? b : ", "a.b(", "a[", "a.all(x, "] {
        assert!(run(&nested.repeat(5000), None, false).is_err(), "{nested}");
    }
    for long in ["1 + ", "1 == ", "'a' + ", "x.y.", "a[0]", "f()."] {
        assert!(run(&format!("{}1", long.repeat(5000)), None, false).is_err(), "{long}");
    }
    let wide = format!("{}true", "true && ".repeat(10_000));
    assert_eq!(run(&wide, None, false), Ok(Answer::Bool(true)));
}

#[test]
fn every_signature_has_a_function() {
    // The words of the table are known, and each function is evaluated above.
    for line in include_str!("signatures.txt").lines().filter(|line| !line.starts_with('#')) {
        let (head, _) = line.split_once('(').unwrap();
        let name = head.rsplit_once('.').map_or(head, |(_, name)| name);
        assert!(TRUE.contains(&format!("{name}(")), "{line}");
        assert!(run(&format!("type({head}()) == 1"), None, false).is_err());
    }
}

#[test]
fn no_text_breaks_the_reader() {
    let pieces = [
        "self", ".", "s", "[", "]", "(", ")", "'", "\"", "r", "b", "\\", "0x", "1", "e", "u", "&&",
        "?", ":", "{", "}", ",", "in", "all", "x", " ", "\n", "//", "ä", "-", "!", "has", "\u{0}",
        "_", "%",
    ];
    let mut seed: u64 = 7;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(pieces[usize::try_from(seed >> 33).unwrap() % pieces.len()]);
        }
        drop(run(&text, None, false));
    }
}
