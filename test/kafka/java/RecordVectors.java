/*
 * Record batches made and read by Apache Kafka's own classes. One file, run as it is:
 *   java -cp '<jars of kafka 4.3>/*' test/kafka/java/RecordVectors.java write > test/golden/records/java.json
 *   java -cp '<jars of kafka 4.3>/*' test/kafka/java/RecordVectors.java read  < lines of base64 batches  > lines of JSON
 * The vectors are random by a fixed seed, so that a second run writes the same file.
 */
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.OptionalLong;
import java.util.Random;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.MemoryRecords.RecordFilter;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.Crc32C;
import org.apache.kafka.common.utils.Utils;

public class RecordVectors {
  static final long T0 = 1_790_000_000_000L;
  static final byte MAGIC = RecordBatch.CURRENT_MAGIC_VALUE;

  public static void main(String[] args) throws Exception {
    if (args[0].equals("write")) write();
    else read();
  }

  static void write() throws Exception {
    Random random = new Random(20261121);
    List<String> batches = new ArrayList<>();
    for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
      Compression compression = Compression.of(codec).build();
      batches.add(describe(codec + ": all shapes of record", shapes(compression)));
      if (!codec.equals("none")) batches.add(describe(codec + ": 200 KB", large(compression, random)));
    }
    batches.add(describe("append time", appendTime()));
    batches.add(describe("idempotent", idempotent(false)));
    batches.add(describe("transactional", idempotent(true)));
    batches.add(describe("timestamps at the ends of int64", extremes()));
    for (ControlRecordType type : List.of(ControlRecordType.COMMIT, ControlRecordType.ABORT)) {
      batches.add(describe("marker " + type.name().toLowerCase(), MemoryRecords.withEndTransactionMarker(
          42, T0, 7, 4711, (short) 3, new EndTransactionMarker(type, 12))));
    }
    batches.add(describe("compacted, offsets with gaps, delete horizon", compacted(true)));
    batches.add(describe("compacted to nothing", compacted(false)));
    System.out.println("{\n\"batches\": [\n" + String.join(",\n", batches) + "\n],\n\"murmur2\": [\n" + hashes(random, true)
        + "\n],\n\"crc32c\": [\n" + hashes(random, false) + "\n],\n\"snappyRaw\": [\n" + rawSnappy(random) + "\n]\n}");
  }

  static MemoryRecords shapes(Compression compression) {
    MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 16), MAGIC, compression,
        TimestampType.CREATE_TIME, 0, RecordBatch.NO_TIMESTAMP, -1L, (short) -1, -1, false, 5);
    builder.append(T0, utf8("key"), utf8("value"));
    builder.append(T0 + 63, (byte[]) null, utf8("no key"));
    builder.append(T0 - 64, utf8("tombstone"), (byte[]) null);
    builder.append(T0 + 64, (byte[]) null, (byte[]) null);
    builder.append(T0 - 8192, new byte[0], new byte[0]);
    builder.append(T0 + 1_048_576, utf8("schlüssel-日本-🙂"), utf8("ünïcödé"));
    builder.append(0, utf8("x".repeat(63)), utf8("y".repeat(64)));
    builder.append(T0 * 2, utf8("x".repeat(200)), utf8("long ".repeat(1700)));
    builder.append(T0, utf8("headers"), utf8("v"), new Header[] {
        new RecordHeader("a", utf8("1")), new RecordHeader("a", utf8("2")), new RecordHeader("", new byte[0]),
        new RecordHeader("nothing", (byte[]) null), new RecordHeader("日本", utf8("z".repeat(70))) });
    builder.append(-1, utf8("no timestamp"), utf8("v"));
    return builder.build();
  }

  /** Compressible, but not trivially: words in random order and some noise. */
  static MemoryRecords large(Compression compression, Random random) {
    MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 20), MAGIC, compression,
        TimestampType.CREATE_TIME, 1_000_000_000_000L, RecordBatch.NO_TIMESTAMP, -1L, (short) -1, -1, false, 5);
    String line = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. ".repeat(8);
    for (int i = 0; i < 400; i++) {
      int from = random.nextInt(40);
      builder.append(T0 + i * 3, utf8("user-" + i % 10), utf8(i + line.substring(from, from + 500 + i % 100)));
    }
    return builder.build();
  }

  static MemoryRecords appendTime() {
    MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 12), MAGIC, Compression.NONE,
        TimestampType.LOG_APPEND_TIME, 100, T0 + 5000);
    builder.append(T0, utf8("a"), utf8("1"));
    builder.append(T0 + 10, utf8("b"), utf8("2"));
    return builder.build();
  }

  static MemoryRecords idempotent(boolean transactional) {
    MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 12), MAGIC, Compression.NONE,
        TimestampType.CREATE_TIME, 0, RecordBatch.NO_TIMESTAMP, 1L << 40, (short) 32767, 2147483647, transactional, -1);
    builder.append(T0, utf8("a"), utf8("1"));
    builder.append(T0 + 1, utf8("b"), utf8("2"));
    return builder.build();
  }

  static MemoryRecords extremes() {
    MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 12), Compression.NONE,
        TimestampType.CREATE_TIME, 0);
    builder.append(1L << 60, utf8("a"), utf8("1"));
    builder.append(0, utf8("b"), utf8("2"));
    builder.append(Long.MAX_VALUE, utf8("c"), utf8("3"));
    return builder.build();
  }

  static MemoryRecords compacted(boolean someLeft) {
    MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 12), MAGIC, Compression.NONE,
        TimestampType.CREATE_TIME, 500, RecordBatch.NO_TIMESTAMP, 99L, (short) 1, 0, false, 5);
    for (int i = 0; i < 10; i++) builder.append(T0 + i, utf8("k" + i), i == 6 ? null : utf8("v" + i));
    ByteBuffer target = ByteBuffer.allocate(1 << 12);
    builder.build().filterTo(new RecordFilter(T0 + 1000, 86_400_000) {
      @Override protected BatchRetentionResult checkBatchRetention(RecordBatch batch) {
        return new BatchRetentionResult(BatchRetention.RETAIN_EMPTY, false);
      }
      @Override protected boolean shouldRetainRecord(RecordBatch batch, Record record) {
        return someLeft && List.of(502L, 506L, 507L).contains(record.offset());
      }
    }, target, BufferSupplier.NO_CACHING);
    target.flip();
    return MemoryRecords.readableRecords(target);
  }

  static String hashes(Random random, boolean murmur) {
    List<byte[]> inputs = new ArrayList<>();
    for (String text : List.of("", "a", "21", "foobar", "a-little-bit-long-string", "a-little-bit-longer-string", "日本",
        "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8")) inputs.add(utf8(text));
    for (int length = 0; length < 40; length++) inputs.add(bytes(random, length));
    if (!murmur) for (int length : new int[] { 95, 96, 97, 111, 112, 127, 300 }) inputs.add(bytes(random, length));
    return String.join(",\n", inputs.stream().map(input -> "{\"input\": \"" + base64(input) + "\", \"hash\": "
        + (murmur ? Utils.murmur2(input) : Crc32C.compute(input, 0, input.length)) + "}").toList());
  }

  static String rawSnappy(Random random) throws Exception {
    List<String> cases = new ArrayList<>();
    byte[] noise = bytes(random, 100);
    for (byte[] input : List.of(new byte[0], utf8("a"), utf8("abcabcabcabcabcabcabcabc"), noise,
        utf8("0123456789".repeat(9000)))) {
      cases.add("{\"packed\": \"" + base64(org.xerial.snappy.Snappy.compress(input)) + "\", \"bytes\": " + input.length
          + ", \"sha256\": \"" + sha256(input) + "\"}");
    }
    return String.join(",\n", cases);
  }

  static void read() throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    for (String line; (line = lines.readLine()) != null;) {
      ByteBuffer bytes = ByteBuffer.wrap(Base64.getDecoder().decode(line));
      System.out.println(describe("read", MemoryRecords.readableRecords(bytes)).replace("\n", " "));
    }
  }

  /** The only batch of `records` as JSON, as Java's reader sees it. */
  static String describe(String name, MemoryRecords records) throws Exception {
    MutableRecordBatch batch = records.batches().iterator().next();
    batch.ensureValid();
    ByteArrayOutputStream canonical = new ByteArrayOutputStream();
    DataOutputStream out = new DataOutputStream(canonical);
    List<String> list = new ArrayList<>();
    int count = 0;
    for (Record record : batch) {
      count++;
      list.add("[" + record.offset() + ",\"" + record.timestamp() + "\"," + json(record.key()) + "," + json(record.value()) + "]");
      out.writeLong(record.offset());
      out.writeLong(record.timestamp());
      put(out, record.key());
      put(out, record.value());
      out.writeInt(record.headers().length);
      for (Header header : record.headers()) {
        put(out, ByteBuffer.wrap(utf8(header.key())));
        put(out, header.value() == null ? null : ByteBuffer.wrap(header.value()));
      }
    }
    byte[] bytes = new byte[batch.sizeInBytes()];
    records.buffer().duplicate().get(bytes);
    OptionalLong horizon = batch.deleteHorizonMs();
    return "{\"name\": \"" + name + "\", \"compression\": \"" + batch.compressionType().name + "\", \"baseOffset\": " + batch.baseOffset()
        + ", \"lastOffset\": " + batch.lastOffset() + ", \"leaderEpoch\": " + batch.partitionLeaderEpoch()
        + ", \"isControl\": " + batch.isControlBatch() + ", \"isTransactional\": " + batch.isTransactional()
        + ", \"logAppendTime\": " + (batch.timestampType() == TimestampType.LOG_APPEND_TIME)
        + ", \"deleteHorizon\": " + (horizon.isPresent() ? horizon.getAsLong() : -1)
        + ", \"maxTimestamp\": \"" + batch.maxTimestamp() + "\", \"producerId\": " + batch.producerId()
        + ", \"producerEpoch\": " + batch.producerEpoch() + ", \"baseSequence\": " + batch.baseSequence()
        + ", \"count\": " + count + ",\n \"records\": " + (count > 20 ? "null" : "[" + String.join(",", list) + "]")
        + ",\n \"sha256\": \"" + sha256(canonical.toByteArray()) + "\",\n \"bytes\": \"" + base64(bytes) + "\"}";
  }

  static void put(DataOutputStream out, ByteBuffer bytes) throws Exception {
    out.writeInt(bytes == null ? -1 : bytes.remaining());
    if (bytes != null) out.write(Utils.toArray(bytes));
  }

  static String json(ByteBuffer bytes) {
    if (bytes == null) return "null";
    byte[] array = Utils.toArray(bytes);
    return "\"" + (array.length > 100 ? "… " + array.length : base64(array)) + "\"";
  }

  static byte[] bytes(Random random, int length) {
    byte[] bytes = new byte[length];
    random.nextBytes(bytes);
    return bytes;
  }

  static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  static String base64(byte[] bytes) {
    return Base64.getEncoder().encodeToString(bytes);
  }

  static String sha256(byte[] bytes) throws Exception {
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
  }
}
