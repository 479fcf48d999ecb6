// Kafka's own Java client against a broker: topics by the admin client, an idempotent producer in every codec, a group
// of two consumers that read all of it and commit, one that leaves. Prints one line `ok <records read>`; throws otherwise.
// Arguments: bootstrap list, topic.
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

public class BrokerInterop {
  static final int PER_CODEC = 200;
  static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};

  static void require(boolean holds, String what) {
    if (!holds) throw new IllegalStateException(what);
  }

  static Map<String, Object> common(String brokers) {
    return new HashMap<>(Map.of("bootstrap.servers", brokers));
  }

  static KafkaConsumer<String, String> consumer(String brokers, String group, String instance) {
    Map<String, Object> config = common(brokers);
    config.put("group.id", group);
    if (instance != null) config.put("group.instance.id", instance);
    config.put("auto.offset.reset", "earliest");
    config.put("enable.auto.commit", "false");
    config.put("heartbeat.interval.ms", "200");
    config.put("isolation.level", "read_committed");
    return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
  }

  /** How far a consumer is, over its partitions. */
  static long positions(KafkaConsumer<String, String> consumer) {
    long sum = 0;
    for (TopicPartition each : consumer.assignment()) sum += consumer.position(each);
    return sum;
  }

  public static void main(String[] args) throws Exception {
    String brokers = args[0];
    String topic = args[1];
    try (Admin admin = Admin.create(common(brokers))) {
      NewTopic wanted = new NewTopic(topic, Optional.of(4), Optional.empty()).configs(Map.of("retention.ms", "-1"));
      admin.createTopics(List.of(wanted)).all().get();
      try {
        admin.createTopics(List.of(wanted)).all().get();
        require(false, "a topic was created twice");
      } catch (java.util.concurrent.ExecutionException e) {
        require(e.getCause() instanceof TopicExistsException, "not TopicExistsException: " + e.getCause());
      }
      ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
      Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
      require(config.get("retention.ms").value().equals("-1"), "retention.ms " + config.get("retention.ms"));
      require(config.get("cleanup.policy").isDefault(), "cleanup.policy " + config.get("cleanup.policy"));
    }
    for (String codec : CODECS) {
      Map<String, Object> config = common(brokers);
      config.put("compression.type", codec);
      config.put("enable.idempotence", "true");
      config.put("linger.ms", "5");
      try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
        List<java.util.concurrent.Future<RecordMetadata>> sent = new ArrayList<>();
        for (int i = 0; i < PER_CODEC; i++) {
          ProducerRecord<String, String> record = new ProducerRecord<>(topic, codec + "-" + i, "value of " + codec + " " + i);
          record.headers().add(new RecordHeader("codec", codec.getBytes()));
          sent.add(producer.send(record));
        }
        producer.flush();
        for (var each : sent) require(each.get().hasOffset(), "no offset");
      }
    }
    int expected = PER_CODEC * CODECS.length;
    Set<String> keys = new HashSet<>();
    String group = topic + "-group";
    try (KafkaConsumer<String, String> first = consumer(brokers, group, null);
        KafkaConsumer<String, String> second = consumer(brokers, group, "static-one")) {
      first.subscribe(List.of(topic));
      second.subscribe(List.of(topic));
      long end = System.currentTimeMillis() + 40_000;
      boolean shared = false;
      while ((keys.size() < expected || !shared || positions(first) + positions(second) < expected) && System.currentTimeMillis() < end) {
        for (var each : List.of(first, second)) {
          for (ConsumerRecord<String, String> record : each.poll(Duration.ofMillis(100))) {
            String codec = record.key().substring(0, record.key().indexOf('-'));
            require(record.value().startsWith("value of " + codec + " "), "value " + record.value());
            require(new String(record.headers().lastHeader("codec").value()).equals(codec), "header");
            keys.add(record.key());
          }
        }
        shared = first.assignment().size() == 2 && second.assignment().size() == 2;
      }
      require(keys.size() == expected, keys.size() + " of " + expected + " records");
      require(shared, "the partitions were not shared: " + first.assignment() + " " + second.assignment());
      first.commitSync();
      second.commitSync();
    }
    try (KafkaConsumer<String, String> third = consumer(brokers, group, "static-one")) {
      Set<TopicPartition> all = new HashSet<>();
      for (int i = 0; i < 4; i++) all.add(new TopicPartition(topic, i));
      long committed = 0;
      for (OffsetAndMetadata each : third.committed(all).values()) committed += each == null ? 0 : each.offset();
      require(committed == expected, "committed " + committed);
      long ends = 0;
      for (long each : third.endOffsets(all).values()) ends += each;
      require(ends == expected, "end offsets " + ends);
      long byTime = 0;
      Map<TopicPartition, Long> now = new HashMap<>();
      for (TopicPartition each : all) now.put(each, 1L);
      for (OffsetAndTimestamp each : third.offsetsForTimes(now).values()) byTime += each == null ? 1 : each.offset();
      require(byTime == 0, "the first record after 1970 is the first");
    }
    System.out.println("ok " + keys.size());
  }
}
