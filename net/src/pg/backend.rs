//! Messages of the server, written straight into the output buffer. Those of every statement are written here by hand;
//! those of connecting and of errors, which are rare, come from `pgwire`.

use bytes::BytesMut;
use omen_core::types::PgType;
use omen_sql::error::{Severity, SqlError};
use omen_sql::session::{ColumnInfo, Tag, TransactionStatus};
use pgwire::messages::Message;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};

/// Appends a message that `pgwire` encodes.
fn push(out: &mut Vec<u8>, message: &impl Message) {
    let mut buffer = BytesMut::new();
    // Fails only for a message longer than clients read; it is left out, since half of it would be worse.
    if message.encode(&mut buffer).is_ok() {
        out.extend_from_slice(&buffer);
    }
}

/// `R` of any kind.
pub fn authentication(out: &mut Vec<u8>, message: &Authentication) {
    push(out, message);
}

/// Tells that protocol 3.0 is the newest, and which options of the startup message are not known.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, unknown_options: Vec<String>) {
    let newest = pgwire::messages::ProtocolVersion::PROTOCOL3_0.into();
    push(out, &NegotiateProtocolVersion::new(newest, unknown_options));
}

/// A setting that clients follow.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: String) {
    push(out, &ParameterStatus::new(name.to_owned(), value));
}

/// What a CancelRequest must name.
pub fn backend_key_data(out: &mut Vec<u8>, pid: u32, secret: u32) {
    push(out, &BackendKeyData::new(pid.cast_signed(), SecretKey::I32(secret.cast_signed())));
}

/// ErrorResponse, or NoticeResponse for notices and warnings.
pub fn error(out: &mut Vec<u8>, error: &SqlError) {
    let mut fields = vec![
        (b'S', error.severity.name().to_owned()),
        (b'V', error.severity.name().to_owned()),
        (b'C', error.state.code().to_owned()),
        (b'M', error.message.clone()),
    ];
    let optional = [
        (b'D', error.detail.clone()),
        (b'H', error.hint.clone()),
        (b'P', error.position.map(|position| position.to_string())),
        (b'W', error.context.clone()),
        (b's', error.schema.clone()),
        (b't', error.table.clone()),
        (b'c', error.column.clone()),
        (b'n', error.constraint.clone()),
    ];
    fields.extend(optional.into_iter().filter_map(|(code, value)| Some((code, value?))));
    // A zero byte would end the field early and put the client out of step.
    for (_, value) in fields.iter_mut().filter(|(_, value)| value.contains('\0')) {
        *value = value.replace('\0', "\\0");
    }
    match error.severity {
        Severity::Error | Severity::Fatal => push(out, &ErrorResponse::new(fields)),
        Severity::Warning | Severity::Notice => push(out, &NoticeResponse::new(fields)),
    }
}

/// A message without body.
#[inline]
fn bare(out: &mut Vec<u8>, kind: u8) {
    out.extend_from_slice(&[kind, 0, 0, 0, 4]);
}

/// Parse is done.
#[inline]
pub fn parse_complete(out: &mut Vec<u8>) {
    bare(out, b'1');
}

/// Bind is done.
#[inline]
pub fn bind_complete(out: &mut Vec<u8>) {
    bare(out, b'2');
}

/// Close is done.
#[inline]
pub fn close_complete(out: &mut Vec<u8>) {
    bare(out, b'3');
}

/// The described statement or portal answers no rows.
#[inline]
pub fn no_data(out: &mut Vec<u8>) {
    bare(out, b'n');
}

/// Execute stopped at its limit of rows.
#[inline]
pub fn portal_suspended(out: &mut Vec<u8>) {
    bare(out, b's');
}

/// The statement was empty.
#[inline]
pub fn empty_query(out: &mut Vec<u8>) {
    bare(out, b'I');
}

/// The data of COPY TO STDOUT is complete.
#[inline]
pub fn copy_done(out: &mut Vec<u8>) {
    bare(out, b'c');
}

/// The server waits for the next message.
#[inline]
pub fn ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    let status = match status {
        TransactionStatus::Idle => b'I',
        TransactionStatus::InTransaction => b'T',
        TransactionStatus::Failed => b'E',
    };
    out.extend_from_slice(&[b'Z', 0, 0, 0, 5, status]);
}

/// Starts a message; answers where, for [`finish`].
#[inline]
fn start(out: &mut Vec<u8>, kind: u8) -> usize {
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    out.len()
}

/// Writes the length of the message that began at `start`.
#[inline]
fn finish(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start + 4).expect("a batch of rows is bounded far below 4 GiB");
    out[start - 4..start].copy_from_slice(&length.to_be_bytes());
}

/// A statement is done.
#[inline]
pub fn command_complete(out: &mut Vec<u8>, tag: Tag) {
    let at = start(out, b'C');
    let (word, rows): (&str, Option<u64>) = match tag {
        Tag::Insert(rows) => ("INSERT 0 ", Some(rows)),
        Tag::Update(rows) => ("UPDATE ", Some(rows)),
        Tag::Delete(rows) => ("DELETE ", Some(rows)),
        Tag::Select(rows) => ("SELECT ", Some(rows)),
        Tag::Copy(rows) => ("COPY ", Some(rows)),
        Tag::Word(word) => (word, None),
    };
    out.extend_from_slice(word.as_bytes());
    if let Some(rows) = rows {
        decimal(out, rows);
    }
    out.push(0);
    finish(out, at);
}

fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A count on the wire. Columns and parameters are at most 65,535.
#[inline]
fn count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("bounded by COLUMNS_MAX and PARAMETERS_MAX");
    out.extend_from_slice(&count.to_be_bytes());
}

/// The columns of a result; `is_binary` tells the format of each.
pub fn row_description(out: &mut Vec<u8>, columns: &[ColumnInfo], is_binary: impl Fn(usize) -> bool) {
    let at = start(out, b'T');
    count(out, columns.len());
    for (index, column) in columns.iter().enumerate() {
        // A zero byte cannot be in an identifier.
        out.extend_from_slice(column.name.as_bytes());
        out.push(0);
        let (table, number) = column.table.map_or((0, 0), |(table, number)| (table.0, number));
        out.extend_from_slice(&table.to_be_bytes());
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&column.pg_type.oid().to_be_bytes());
        out.extend_from_slice(&column.pg_type.wire_size().to_be_bytes());
        out.extend_from_slice(&column.pg_type.type_modifier().to_be_bytes());
        out.extend_from_slice(&u16::from(is_binary(index)).to_be_bytes());
    }
    finish(out, at);
}

/// The parameters of a statement.
pub fn parameter_description(out: &mut Vec<u8>, parameters: &[PgType]) {
    let at = start(out, b't');
    count(out, parameters.len());
    for parameter in parameters {
        out.extend_from_slice(&parameter.oid().to_be_bytes());
    }
    finish(out, at);
}

/// The server waits for COPY data of this many columns, all as text.
pub fn copy_in_response(out: &mut Vec<u8>, columns: usize) {
    copy_response(out, b'G', columns);
}

/// COPY data of this many columns follows, all as text.
pub fn copy_out_response(out: &mut Vec<u8>, columns: usize) {
    copy_response(out, b'H', columns);
}

fn copy_response(out: &mut Vec<u8>, kind: u8, columns: usize) {
    let at = start(out, kind);
    out.push(0);
    count(out, columns);
    out.resize(out.len() + 2 * columns, 0);
    finish(out, at);
}

/// Some COPY data.
pub fn copy_data(out: &mut Vec<u8>, data: &[u8]) {
    let at = start(out, b'd');
    out.extend_from_slice(data);
    finish(out, at);
}

/// Writes one DataRow, value by value.
pub struct DataRow {
    start: usize,
}

impl DataRow {
    /// Begins a row of `columns` values.
    #[inline]
    pub fn start(out: &mut Vec<u8>, columns: usize) -> DataRow {
        let start = start(out, b'D');
        count(out, columns);
        DataRow { start }
    }

    /// The next value is NULL.
    #[inline]
    pub fn null(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    /// The next value is what `write` appends.
    #[inline]
    pub fn value(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&[0; 4]);
        let start = out.len();
        write(out);
        let length = u32::try_from(out.len() - start).expect("values are bounded far below 4 GiB");
        out[start - 4..start].copy_from_slice(&length.to_be_bytes());
    }

    /// Ends the row.
    #[inline]
    pub fn finish(self, out: &mut [u8]) {
        finish(out, self.start);
    }
}

#[cfg(test)]
mod tests {
    use omen_core::id::TableId;
    use omen_sql::error::SqlState;
    use pgwire::messages::{DecodeContext, PgWireBackendMessage, ProtocolVersion};

    use super::*;

    fn decoded(out: &[u8]) -> Vec<PgWireBackendMessage> {
        let mut buffer = BytesMut::from(out);
        let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        let mut messages = Vec::new();
        while let Some(message) = PgWireBackendMessage::decode(&mut buffer, &context).expect("valid") {
            messages.push(message);
        }
        assert!(buffer.is_empty(), "bytes are left over");
        messages
    }

    #[test]
    fn pgwire_reads_what_is_written() {
        let mut out = Vec::new();
        parse_complete(&mut out);
        bind_complete(&mut out);
        let columns = [
            ColumnInfo { name: "id".into(), pg_type: PgType::Int4, table: Some((TableId(16_385), 1)) },
            ColumnInfo { name: "n".into(), pg_type: PgType::Numeric(Some((5, 2))), table: None },
        ];
        row_description(&mut out, &columns, |index| index == 1);
        let row = DataRow::start(&mut out, 2);
        row.value(&mut out, |out| out.extend_from_slice(b"12"));
        row.null(&mut out);
        row.finish(&mut out);
        command_complete(&mut out, Tag::Insert(18_446_744_073_709_551_615));
        command_complete(&mut out, Tag::Select(0));
        command_complete(&mut out, Tag::Word("CREATE TABLE"));
        ready_for_query(&mut out, TransactionStatus::Failed);
        let text = format!("{:?}", decoded(&out));
        for part in [
            "ParseComplete), BindComplete(",
            "name: \"id\", table_id: 16385, column_id: 1, type_id: 23, type_size: 4, type_modifier: -1, format_code: 0",
            "type_id: 1700, type_size: -1, type_modifier: 327686, format_code: 1",
            "DataRow { data: b\"\\0\\0\\0\\x0212\\xff\\xff\\xff\\xff\", field_count: 2 }",
            "INSERT 0 18446744073709551615",
            "SELECT 0",
            "CREATE TABLE",
            "ReadyForQuery { status: Error }",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn errors_have_their_fields() {
        let mut problem =
            SqlError::new(SqlState::UNIQUE_VIOLATION, "duplicate\0key").detail("Key (id)=(5)").at(7);
        problem.constraint = Some("t_pkey".into());
        problem.context = Some("COPY t, line 1".into());
        let mut out = Vec::new();
        error(&mut out, &problem);
        error(&mut out, &SqlError::notice(SqlState::SUCCESSFUL_COMPLETION, "hello"));
        let text = format!("{:?}", decoded(&out));
        // Codes as numbers: S V C M D P W n.
        let fields = "(83, \"ERROR\"), (86, \"ERROR\"), (67, \"23505\"), (77, \"duplicate\\\\0key\"), \
                      (68, \"Key (id)=(5)\"), (80, \"7\"), (87, \"COPY t, line 1\"), (110, \"t_pkey\")";
        assert!(text.contains(fields), "{text}");
        assert!(text.contains("NoticeResponse"), "{text}");
    }
}
