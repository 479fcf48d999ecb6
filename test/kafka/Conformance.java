import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.Random;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.requests.ResponseHeader;

/**
 * The Java end of the protocol's conformance tests: Kafka's own data classes and JSON converters behind a line protocol
 * on standard input and output. One command a line, one answer a line; an answer that begins with "!" is an exception.
 *
 *   spec MESSAGE                       its definition as JSON
 *   make MESSAGE VERSION SEED          a random message: hex JSON
 *   read MESSAGE VERSION HEX           decodes, encodes again: hex JSON
 *   request HEX                        header of a request frame: apiKey version correlationId clientId(base64) restOffset
 *   response APIKEY VERSION HEX        header of a response frame: correlationId restOffset
 *   errors                             code:name:retriable, separated by spaces
 */
public class Conformance {
  private static final ObjectMapper json = new ObjectMapper().configure(JsonParser.Feature.ALLOW_COMMENTS, true);
  private static final JsonNodeFactory nodes = JsonNodeFactory.instance;
  private static final Map<String, JsonNode> specs = new HashMap<>();

  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String answer;
      try {
        answer = run(line.split(" "));
      } catch (Throwable cause) {
        while (cause.getCause() != null) cause = cause.getCause();
        answer = "!" + cause.toString().replace('\n', ' ');
      }
      out.println(answer);
      if (!in.ready()) out.flush();
    }
    out.flush();
  }

  private static String run(String[] words) throws Exception {
    switch (words[0]) {
      case "spec":
        return spec(words[1]).toString();
      case "make": {
        short version = Short.parseShort(words[2]);
        JsonNode spec = spec(words[1]);
        JsonNode value = struct(spec.get("fields"), spec, version, new Random(Long.parseLong(words[3])), 0);
        return show(words[1], (Message) converter(words[1]).getMethod("read", JsonNode.class, short.class).invoke(null, value, version), version);
      }
      case "read": {
        short version = Short.parseShort(words[2]);
        ByteBuffer bytes = bytes(words.length > 3 ? words[3] : "");
        Message message = (Message) data(words[1]).getConstructor().newInstance();
        message.read(new ByteBufferAccessor(bytes), version);
        if (bytes.hasRemaining()) throw new IllegalStateException(bytes.remaining() + " bytes are left over");
        return show(words[1], message, version);
      }
      case "request": {
        ByteBuffer frame = bytes(words[1]);
        RequestHeader header = RequestHeader.parse(frame);
        String client = Base64.getEncoder().encodeToString(header.clientId().getBytes(StandardCharsets.UTF_8));
        return header.apiKey().id + " " + header.apiVersion() + " " + header.correlationId() + " " + client + " " + frame.position();
      }
      case "response": {
        ByteBuffer frame = bytes(words[3]);
        ApiKeys key = ApiKeys.forId(Integer.parseInt(words[1]));
        ResponseHeader header = ResponseHeader.parse(frame, key.responseHeaderVersion(Short.parseShort(words[2])));
        return header.correlationId() + " " + frame.position();
      }
      case "errors": {
        StringBuilder all = new StringBuilder();
        for (Errors error : Errors.values()) {
          boolean retriable = error.exception() instanceof RetriableException;
          all.append(all.length() == 0 ? "" : " ").append(error.code()).append(':').append(error.name()).append(':').append(retriable);
        }
        return all.toString();
      }
      default:
        throw new IllegalArgumentException("unknown command " + words[0]);
    }
  }

  private static ByteBuffer bytes(String hex) {
    return ByteBuffer.wrap(HexFormat.of().parseHex(hex));
  }

  private static Class<?> data(String message) throws ClassNotFoundException {
    String suffix = message.endsWith("Request") || message.endsWith("Response") ? "Data" : "";
    return Class.forName("org.apache.kafka.common.message." + message + suffix);
  }

  private static Class<?> converter(String message) throws ClassNotFoundException {
    return Class.forName(data(message).getName() + "JsonConverter");
  }

  /** What the data class writes, and what Kafka's converter says it holds. */
  private static String show(String name, Message message, short version) throws Exception {
    ObjectSerializationCache cache = new ObjectSerializationCache();
    ByteBuffer bytes = ByteBuffer.allocate(message.size(cache, version));
    message.write(new ByteBufferAccessor(bytes), cache, version);
    if (bytes.hasRemaining()) throw new IllegalStateException("size and write disagree");
    Method write = converter(name).getMethod("write", message.getClass(), short.class, boolean.class);
    return HexFormat.of().formatHex(bytes.array()) + " " + write.invoke(null, message, version, true);
  }

  private static JsonNode spec(String message) throws Exception {
    JsonNode known = specs.get(message);
    if (known != null) return known;
    try (InputStream stream = Conformance.class.getResourceAsStream("/common/message/" + message + ".json")) {
      if (stream == null) throw new IllegalArgumentException("no definition of " + message);
      JsonNode read = json.readTree(stream);
      specs.put(message, read);
      return read;
    }
  }

  // ---- random messages, driven by Kafka's definitions alone ----

  private static boolean within(JsonNode versions, short version) {
    if (versions == null || versions.asText().equals("none")) return false;
    String text = versions.asText();
    if (text.endsWith("+")) return version >= Integer.parseInt(text.substring(0, text.length() - 1));
    String[] ends = text.split("-");
    return version >= Integer.parseInt(ends[0]) && version <= Integer.parseInt(ends[ends.length - 1]);
  }

  private static ObjectNode struct(JsonNode fields, JsonNode spec, short version, Random random, int depth) {
    ObjectNode node = nodes.objectNode();
    for (JsonNode field : fields) {
      if (!within(field.get("versions"), version)) continue;
      if (within(field.get("taggedVersions"), version) && random.nextBoolean()) continue;
      String name = field.get("name").asText();
      node.set(Character.toLowerCase(name.charAt(0)) + name.substring(1), value(field, spec, version, random, depth));
    }
    return node;
  }

  private static JsonNode value(JsonNode field, JsonNode spec, short version, Random random, int depth) {
    if (within(field.get("nullableVersions"), version) && random.nextInt(5) == 0) return nodes.nullNode();
    String type = field.get("type").asText();
    if (!type.startsWith("[]")) return single(type, field, spec, version, random, depth);
    ArrayNode items = nodes.arrayNode();
    int most = random.nextInt(60) == 0 && depth == 0 ? 150 : depth > 1 ? 3 : 5;
    for (int count = random.nextInt(most); count > 0; count--) {
      items.add(single(type.substring(2), field, spec, version, random, depth + 1));
    }
    return items;
  }

  private static JsonNode single(String type, JsonNode field, JsonNode spec, short version, Random random, int depth) {
    switch (type) {
      case "bool":
        return nodes.booleanNode(random.nextBoolean());
      case "int8":
        return nodes.numberNode((byte) random.nextInt());
      case "int16":
        return nodes.numberNode((short) (random.nextInt(3) == 0 ? random.nextInt(5) - 1 : random.nextInt()));
      case "int32":
        return nodes.numberNode(random.nextInt(3) == 0 ? random.nextInt(5) - 1 : random.nextInt());
      case "int64": {
        // Within what a JavaScript number holds exactly, both ends included.
        long most = (1L << 53) - 1;
        int kind = random.nextInt(6);
        return nodes.numberNode(kind == 0 ? most : kind == 1 ? -most : kind == 2 ? random.nextInt(5) - 1L : random.nextLong() % most);
      }
      case "string":
        return nodes.textNode(text(random));
      case "uuid":
        return nodes.textNode(Base64.getUrlEncoder().withoutPadding().encodeToString(blob(random, random.nextInt(4) == 0 ? 0 : 16, 16)));
      case "bytes":
      case "records":
        return nodes.binaryNode(blob(random, random.nextInt(10) == 0 ? 20_000 : random.nextInt(200), -1));
      default:
        return struct(structFields(type, field, spec), spec, version, random, depth);
    }
  }

  private static JsonNode structFields(String type, JsonNode field, JsonNode spec) {
    if (field.has("fields")) return field.get("fields");
    for (JsonNode common : spec.path("commonStructs")) {
      if (common.get("name").asText().equals(type)) return common.get("fields");
    }
    throw new IllegalStateException("no struct " + type);
  }

  /** `length` random bytes in an array of `size` (−1: of the same length); the rest is zero. */
  private static byte[] blob(Random random, int length, int size) {
    byte[] bytes = new byte[size < 0 ? length : size];
    byte[] filled = new byte[length];
    random.nextBytes(filled);
    System.arraycopy(filled, 0, bytes, 0, length);
    return bytes;
  }

  private static String text(Random random) {
    int[] lengths = {0, 1, 5, 17, 47, 49, 126, 127, 128, 300};
    int length = random.nextInt(40) == 0 ? 10_000 : lengths[random.nextInt(lengths.length)];
    boolean ascii = random.nextInt(3) != 0;
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < length; i++) {
      int kind = ascii ? 0 : random.nextInt(4);
      if (kind == 0) text.append((char) random.nextInt(128));
      else if (kind == 1) text.append((char) (0x80 + random.nextInt(0x700)));
      else if (kind == 2) text.append((char) (0x800 + random.nextInt(0xc000)));
      else text.appendCodePoint(0x10000 + random.nextInt(0x100000));
    }
    return text.toString();
  }
}
