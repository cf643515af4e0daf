// A ternary model that people have, behind OpenAI's completions and chat completions (examples/openai_api.h), for
// programs on this machine or in a network that is trusted.
//
//   serve MODEL [--port N]    (--help says more)
#include <bitnet/bitnet.h>
#include <bitnet/io/any_model.h>
#include <bitnet/io/stop_strings.h>
#include <bitnet/io/text_decoder.h>

// How long a target may be: cpp-httplib looks at it by regular expressions, which take stack for each byte.
#define CPPHTTPLIB_REQUEST_URI_MAX_LENGTH 1024
#define CPPHTTPLIB_USE_POLL  // or connections end at 1024 files
#define CPPHTTPLIB_LISTEN_BACKLOG 128
#include <httplib.h>
#include <signal.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "i2s_option.h"
#include "openai_api.h"
#include "options.h"
#include "program.h"
#include "small_gguf.h"

using namespace bitnet;
using namespace std::chrono_literals;

namespace {

struct Arguments {
  std::string model, host = "127.0.0.1", name, scheme = "b158";
  int port = 8080;
  size_t cache_bits = 0, threads = 0, conversations = 4, queue = 16, pages = 0, max_body = 1 << 20;
  double grace = 5.0;
  CheckpointOptions checkpoint;
};

// A reply on its way from the thread of the model to the one that answers a request.
class Talk {
 public:
  Talk(const LoadedTokenizer& loaded, std::vector<std::string> stop)
      : decoder_(loaded.tokenizer, {.at_start = false}), stop_(std::move(stop)) {}

  // The model's side. False: nobody listens, or a text to stop at has come.
  bool Say(Token token) {
    const std::lock_guard lock(mutex_);
    ++tokens_;
    const Result<std::string> text = decoder_.Append(token);
    if (text.ok()) text_ += stop_.Append(*text);  // (else the model knows more tokens than the tokenizer)
    changed_.notify_one();
    return !stop_.found() && !left_;
  }
  void End(const Result<Generated>& reply) {
    const std::lock_guard lock(mutex_);
    if (!reply.ok()) {
      std::fprintf(stderr, "a reply broke off: %s\n", reply.error().c_str());
    } else if (reply->end != GenerateEnd::kCallback || stop_.found()) {
      text_ += stop_.Append(decoder_.Finish());
      text_ += stop_.Finish();
      const bool is_cut = reply->end == GenerateEnd::kLimit || reply->end == GenerateEnd::kFull;
      finish_reason_ = is_cut && !stop_.found() ? "length" : "stop";
    }
    has_ended_ = true;
    changed_.notify_one();
  }

  // The listener's side.
  struct News {
    std::string text;
    bool has_ended;
    std::string finish_reason;  // empty: it broke off
    size_t tokens;
  };
  News Wait(std::chrono::milliseconds most) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, most, [&] { return !text_.empty() || has_ended_; });
    return {std::exchange(text_, {}), has_ended_, finish_reason_, tokens_};
  }
  void Leave() { left_ = true; }
  bool has_left() const { return left_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  TextDecoder decoder_;
  StopStrings stop_;
  std::string text_, finish_reason_;
  size_t tokens_ = 0;
  bool has_ended_ = false;
  std::atomic<bool> left_ = false;
};

// Requests on their way to the thread of the model, and those that are there.
class Desk {
 public:
  explicit Desk(size_t room) : room_(room) {}

  // False: it is full, or closed. `request` has everything but its functions.
  bool Put(BatchRequest request, std::shared_ptr<Talk> talk) {
    const std::lock_guard lock(mutex_);
    if (is_closed_ || there_ == room_) return false;
    request.on_token = [talk](Token token) { return talk->Say(token); };
    request.on_end = [this, talk](const Result<Generated>& reply) {
      const bool has_left = talk->has_left();
      talk->End(reply);
      const std::lock_guard its_lock(mutex_);
      --there_;
      if (has_left) ++left_;
    };
    ++there_;
    new_.push_back({std::move(request), std::move(talk)});
    changed_.notify_one();
    return true;
  }
  // No more; those that are there end, or break off when `grace` is over.
  void Close(std::chrono::duration<double> grace) {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    end_ = std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::milliseconds>(grace);
    changed_.notify_one();
  }
  bool is_closed() const {
    const std::lock_guard lock(mutex_);
    return is_closed_;
  }
  size_t there() const {
    const std::lock_guard lock(mutex_);
    return there_;
  }
  // Replies that ended because nobody listened, and will.
  size_t left() const {
    const std::lock_guard lock(mutex_);
    return left_ + static_cast<size_t>(
                       std::count_if(new_.begin(), new_.end(), [](const auto& one) { return one.second->has_left(); }));
  }

  // The thread of the model: runs until it is closed, and all replies have ended.
  template <class Model>
  void Serve(ContinuousBatch<Model>& batch) {
    std::map<uint64_t, std::shared_ptr<Talk>> talks;
    while (true) {
      std::vector<std::pair<BatchRequest, std::shared_ptr<Talk>>> taken;
      bool break_off = false;
      {
        std::unique_lock lock(mutex_);
        if (batch.IsEmpty()) {
          talks.clear();
          changed_.wait(lock, [&] { return !new_.empty() || is_closed_; });
          if (new_.empty()) return;
        }
        taken.swap(new_);
        break_off = is_closed_ && std::chrono::steady_clock::now() > end_;
      }
      for (auto& [request, talk] : taken) talks[Need(batch.Add(std::move(request)))] = talk;
      std::erase_if(talks, [&](const auto& talk) {
        const bool has_left = talk.second->has_left();  // asked once: a listener may leave at any time
        if (break_off || has_left) batch.Cancel(talk.first);
        return has_left;
      });
      Need(batch.Step());
    }
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<BatchRequest, std::shared_ptr<Talk>>> new_;
  const size_t room_;
  size_t there_ = 0, left_ = 0;
  bool is_closed_ = false;
  std::chrono::steady_clock::time_point end_;
};

// The side of HTTP.
class Service {
 public:
  Service(const Arguments& arguments, const openai::Served& served, Desk& desk,
          std::function<Result<Done>(const BatchRequest&)> check)
      : served_(served), desk_(desk), check_(std::move(check)), max_body_(arguments.max_body) {
    // A thread for each request that is there, and some for what is answered at once and for connections that idle.
    const size_t threads = arguments.conversations + arguments.queue + 32;
    server_.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
    server_.set_payload_max_length(max_body_);
    // One request a connection: bodies that are not read (of GET, or compressed) would be taken for the next.
    server_.set_keep_alive_max_count(1);
    server_.set_keep_alive_timeout(2);
    server_.set_tcp_nodelay(true);
    // (Else two servers may have one port, and the system chooses between them.)
    server_.set_socket_options([](socket_t socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
    server_.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content("{\"status\": \"ok\", \"requests\": " + std::to_string(desk_.there()) + "}\n", kJson);
    });
    server_.Get("/v1/models", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content("{\"object\": \"list\", \"data\": [{\"id\": " + JsonText(served_.name) +
                               ", \"object\": \"model\", \"created\": " + std::to_string(begun_) +
                               ", \"owned_by\": \"bitnet\"}]}\n",
                           kJson);
    });
    // All paths: bodies that are not ours are read with a limit, too.
    const auto post = [this](const auto& request, auto& response, const auto& reader) {
      Answer(request, response, reader);
    };
    const char* const all = "[\\s\\S]*";
    server_.Post(all, post).Put(all, post).Patch(all, post).Delete(all, post);
    using Handled = httplib::Server::HandlerResponse;
    // (Of other methods cpp-httplib keeps bodies of any size.)
    server_.set_pre_routing_handler([](const httplib::Request& request, httplib::Response& response) {
      for (const char* known : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}) {
        if (request.method == known) return Handled::Unhandled;
      }
      Refuse(response, {405, Quoted(request.method) + ": this method is not known here"});
      return Handled::Handled;
    });
    const auto explain = [](const httplib::Request& request, httplib::Response& response) {
      if (!response.body.empty()) return Handled::Unhandled;
      if (response.status == 404) {
        Refuse(response, RefusePath(request));
      } else {
        Refuse(response,
               {response.status, "the request cannot be read (HTTP " + std::to_string(response.status) + ")"});
      }
      return Handled::Handled;
    };
    server_.set_error_handler(httplib::Server::HandlerWithResponse(explain));
  }

  // The port, or -1.
  int Bind(const std::string& host, int port) {
    if (port == 0) return server_.bind_to_any_port(host);
    return server_.bind_to_port(host, port) ? port : -1;
  }
  // Until Stop; then until the requests that are there have their replies.
  bool Listen() { return server_.listen_after_bind(); }
  void Stop() { server_.stop(); }

 private:
  static constexpr const char* kJson = "application/json";

  static void Refuse(httplib::Response& response, const openai::Refusal& refusal) {
    response.status = refusal.status;
    if (refusal.status == 429) response.set_header("Retry-After", "1");
    response.set_content(openai::JsonOf(refusal), kJson);
  }
  static bool IsChat(const std::string& path) { return path == "/v1/chat/completions"; }
  static bool IsPost(const std::string& path) { return path == "/v1/completions" || IsChat(path); }
  static openai::Refusal RefusePath(const httplib::Request& request) {
    const bool is_known = IsPost(request.path) || request.path == "/v1/models" || request.path == "/health";
    const std::string what = request.method + " " + Quoted(request.path);
    if (is_known) return {405, what + ": this path is not for " + request.method};
    return {404, what + ": there are POST /v1/completions and /v1/chat/completions, GET /v1/models and /health"};
  }

  // Reads a body, of which at most max_body_ bytes are kept. Whether that was all.
  bool ReadBody(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& reader,
                std::string& body) const {
    if (!request.has_header("Content-Length") && !request.has_header("Transfer-Encoding")) {
      Refuse(response, {411, "the request has no Content-Length"});
      return false;
    }
    bool fits = true;
    const auto keep = [&](const char* data, size_t bytes) {
      fits = fits && bytes <= max_body_ - body.size();
      if (fits) body.append(data, bytes);
      return true;
    };
    const bool was_read = request.is_multipart_form_data()
                              ? reader([](const httplib::MultipartFormData&) { return true; }, keep)
                              : reader(keep);
    if (!fits || response.status == 413) {
      Refuse(response, {413, "the body has more than " + std::to_string(max_body_) + " bytes"});
    } else if (!was_read) {
      Refuse(response,
             {response.status == 415 ? 415 : 400, "the body cannot be read: it is compressed, or ends early"});
    }
    return fits && was_read;
  }

  void Answer(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& reader) {
    std::string body;
    if (!ReadBody(request, response, reader, body)) return;
    if (request.method != "POST" || !IsPost(request.path)) return Refuse(response, RefusePath(request));
    if (!request.get_header_value("Content-Type").starts_with(kJson)) {
      return Refuse(response, {415, "the Content-Type must be application/json"});
    }
    openai::BodyReader body_reader(served_, IsChat(request.path));
    std::optional<openai::Question> question = body_reader.Read(body);
    if (!question) return Refuse(response, body_reader.refusal());
    BatchRequest asked;
    asked.prompt = question->prompt;
    asked.options = question->options;
    asked.random = Random(question->seed ? *question->seed : NewNumber());
    if (const Result<Done> checked = check_(asked); !checked.ok()) {
      return Refuse(response, {400, checked.error(), question->is_chat ? "messages" : "prompt"});
    }
    const auto talk = std::make_shared<Talk>(served_.loaded, question->stop);
    if (!desk_.Put(std::move(asked), talk)) {
      if (desk_.is_closed()) return Refuse(response, {503, "the server is about to end"});
      return Refuse(response, {429, "all conversations and all places of the queue are taken", {}, "queue_full"});
    }
    char id[24];
    std::snprintf(id, sizeof(id), "%016llx", static_cast<unsigned long long>(NewNumber()));
    const openai::ReplyWriter writer(*question, served_.name, id, std::time(nullptr));
    response.status = 200;
    response.set_header("Cache-Control", "no-cache");
    // In chunks, whole replies too: while one writes, it is seen that the caller has gone.
    response.set_chunked_content_provider(
        question->streams ? "text/event-stream" : kJson,
        [talk, writer, streams = question->streams](size_t, httplib::DataSink& sink) {
          return Pass(*talk, writer, streams, sink);
        },
        [talk](bool) { talk->Leave(); });
  }

  // Writes a reply as it comes. False: it broke off, and so does the connection.
  static bool Pass(Talk& talk, const openai::ReplyWriter& writer, bool streams, httplib::DataSink& sink) {
    const auto write = [&](const std::string& text) { return text.empty() || sink.write(text.data(), text.size()); };
    if (streams && !write(writer.First())) return false;
    std::string whole;
    while (true) {
      const Talk::News news = talk.Wait(100ms);
      if (!sink.is_writable()) return false;
      if (!streams) whole += news.text;
      if (streams && !news.text.empty() && !write(writer.More(news.text))) return false;
      if (!news.has_ended) continue;
      if (news.finish_reason.empty()) return false;
      if (!write(streams ? writer.Last(news.finish_reason, news.tokens)
                         : writer.Whole(whole, news.finish_reason, news.tokens))) {
        return false;
      }
      sink.done();
      return true;
    }
  }

  uint64_t NewNumber() {
    const std::lock_guard lock(mutex_);
    return RandomBits(numbers_);
  }

  const openai::Served& served_;
  Desk& desk_;
  std::function<Result<Done>(const BatchRequest&)> check_;
  const size_t max_body_;
  const std::time_t begun_ = std::time(nullptr);
  std::mutex mutex_;
  Random numbers_{(uint64_t{std::random_device()()} << 32) ^ std::random_device()()};
  httplib::Server server_;
};

int AskItself(int port, const openai::Served& served, Desk& desk, const std::function<void()>& begin);

// Runs the server until a signal. `quick`: asks itself before that, and says whether all answers were right.
template <Scheme S>
int RunWith(const Checkpoint& checkpoint, const openai::Served& served, const Arguments& arguments,
            const SimdBackend& backend, const sigset_t& signals, bool quick) {
  using Model = AnyModel<WithChosenCache<S>>;
  const Model model = Need(LoadAnyModel<WithChosenCache<S>>(checkpoint, {.cache_bits = arguments.cache_bits}, backend));
  const size_t pages_at_most = arguments.conversations * PagesFor(model.config().max_positions);
  BatchOptions options;
  options.max_running = arguments.conversations;
  options.max_pages = arguments.pages == 0 ? pages_at_most : std::min(arguments.pages, pages_at_most);
  ContinuousBatch<Model> batch(model, options);
  Desk desk(arguments.conversations + arguments.queue);
  Service service(arguments, served, desk, [&](const BatchRequest& request) { return batch.Check(request); });
  const int port = service.Bind(arguments.host, arguments.port);
  if (port < 0)
    Stop(arguments.host + ":" + std::to_string(arguments.port) +
         " cannot be listened at: it is in use, or not of this machine");
  const double mb = 1e-6 * static_cast<double>(options.max_pages) * static_cast<double>(model.PageBytes().value_or(0));
  std::fprintf(stderr, "%s at http://%s:%d/v1: %zu conversations, a cache of at most %.0f MB, a queue of %zu\n",
               served.name.c_str(), arguments.host.c_str(), port, arguments.conversations, mb, arguments.queue);

  std::thread runner;
  const auto begin = [&] { runner = std::thread([&] { desk.Serve(batch); }); };
  std::atomic<bool> has_ended = false;
  std::thread closer([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    for (const int again : {SIGINT, SIGTERM}) std::signal(again, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);  // a second one ends at once
    desk.Close(std::chrono::duration<double>(arguments.grace));
    service.Stop();
    // Who holds a connection without asking anything holds nobody up.
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(arguments.grace + 3.0);
    while (!has_ended && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(10ms);
    if (has_ended) return;
    if (quick) std::printf("WRONG: it does not end\n");
    std::fflush(stdout);
    std::_Exit(quick ? 1 : 0);
  });
  std::atomic<int> wrong = 0;
  std::thread asker;
  if (quick) {
    asker = std::thread([&] {
      wrong = AskItself(port, served, desk, begin);
      kill(getpid(), SIGTERM);
    });
  } else {
    begin();
  }
  const bool listened = service.Listen();
  if (!desk.is_closed()) kill(getpid(), SIGTERM);  // it could not go on
  if (asker.joinable()) asker.join();
  if (runner.joinable()) runner.join();
  has_ended = true;
  closer.join();
  return listened && wrong == 0 ? 0 : 1;
}

// ---- What --quick asks.

class Asker {
 public:
  explicit Asker(int port) : port_(port) {}

  struct Answer {
    int status = 0;
    std::string body;
    httplib::Headers headers;
  };
  Answer Post(const std::string& path, const std::string& body, const char* type = "application/json") const {
    return From(NewClient().Post(path, body, type));
  }
  Answer Get(const std::string& path) const { return From(NewClient().Get(path)); }
  httplib::Client NewClient() const {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(120);
    return client;
  }

  void Check(bool is_right, const std::string& what, const std::string& answer = {}) {
    std::printf("%s: %s\n", is_right ? "right" : "WRONG", what.c_str());
    if (!is_right) std::printf("%s\n", answer.c_str());
    if (!is_right) ++wrong_;
  }
  // A refusal with OpenAI's error object.
  void CheckRefusal(const Answer& answer, int status, const std::string& field, const std::string& what) {
    const std::string expected = "\"param\": " + openai::TextOrNull(field);
    const bool is_right = answer.status == status && answer.body.starts_with("{\"error\": {\"message\": ") &&
                          answer.body.find(expected) != std::string::npos && IsJson(answer.body);
    Check(is_right, what + ": " + std::to_string(status), std::to_string(answer.status) + " " + answer.body);
  }
  int wrong() const { return wrong_; }

  static bool IsJson(const std::string& text) { return JsonDocument::Parse(text, "an answer").ok(); }
  // The text of a reply, or of all events of a stream; no text where one of them is no JSON or lacks it.
  static std::optional<std::string> TextOf(const std::string& body, bool streams) {
    std::string text;
    size_t at = 0;
    while (at < body.size()) {
      std::string json = body.substr(at);
      at = body.size();
      if (streams) {
        const size_t end = json.find("\n\n");
        if (!json.starts_with("data: ") || end == std::string::npos) return std::nullopt;
        at = body.size() - json.size() + end + 2;
        json = json.substr(6, end - 6);
        if (json == "[DONE]") return at == body.size() ? std::optional(text) : std::nullopt;
      }
      const auto document = JsonDocument::Parse(json, "an answer");
      if (!document.ok()) return std::nullopt;
      const auto choices = document->root().Find("choices");
      if (!choices) return std::nullopt;
      for (const JsonValue choice : choices->items()) {
        std::optional<JsonValue> its = choice.Find("text");
        for (const char* inner : {"message", "delta"}) {
          if (const auto message = choice.Find(inner)) its = message->Find("content");
        }
        if (its && its->kind() == JsonKind::kText) text += *its->AsText();
      }
    }
    if (streams) return std::nullopt;  // without its last event
    return text;
  }

 private:
  static Answer From(const httplib::Result& result) {
    if (!result) return {};
    return {result->status, result->body, result->headers};
  }
  int port_;
  int wrong_ = 0;
};

// Against a server of 2 conversations and a queue of 1, whose model has not begun.
int AskItself(int port, const openai::Served& served, Desk& desk, const std::function<void()>& begin) {
  Asker asker(port);
  const std::string completions = "/v1/completions", chat = "/v1/chat/completions";
  const std::string question = R"({"prompt": "Two bits ", "max_tokens": 40, "seed": 7, "logit_bias": {"257": -100})";

  // Three requests wait; a fourth finds no place. One of the three goes away.
  std::vector<std::thread> waiting;
  std::vector<Asker::Answer> answers(2);
  for (Asker::Answer& answer : answers) {
    waiting.emplace_back([&] { answer = asker.Post(completions, question + "}"); });
  }
  {
    httplib::Client leaves = asker.NewClient();
    httplib::Request request;
    request.method = "POST";
    request.path = completions;
    request.headers = {{"Content-Type", "application/json"}};
    request.body = question + R"(, "stream": true})";
    request.response_handler = [](const httplib::Response&) { return false; };  // at the reply's first line
    while (desk.there() < 2) std::this_thread::sleep_for(1ms);
    leaves.send(request);
  }
  const Asker::Answer full = asker.Post(completions, question + "}");
  asker.CheckRefusal(full, 429, "", "a full queue");
  asker.Check(full.headers.count("Retry-After") == 1, "with Retry-After");
  for (int tries = 0; desk.left() == 0 && tries < 60000; ++tries) std::this_thread::sleep_for(1ms);
  begin();
  for (std::thread& thread : waiting) thread.join();
  while (desk.there() != 0) std::this_thread::sleep_for(1ms);
  asker.Check(desk.left() == 1, "who goes away is not waited for");
  const auto alone = Asker::TextOf(asker.Post(completions, question + "}").body, false);
  asker.Check(alone && !alone->empty(), "a completion");
  for (const Asker::Answer& answer : answers) {
    asker.Check(Asker::TextOf(answer.body, false) == alone, "the same, of two at once", answer.body);
    asker.Check(
        answer.body.find(R"("finish_reason": "length")") != std::string::npos &&
            answer.body.find(R"("prompt_tokens": 8, "completion_tokens": 40, "total_tokens": 48)") != std::string::npos,
        "why it ended, and its tokens", answer.body);
  }
  const auto stream =
      asker.Post(completions, question + R"(, "stream": true, "stream_options": {"include_usage": true}})");
  asker.Check(Asker::TextOf(stream.body, true) == alone, "the same, as a stream", stream.body);
  asker.Check(
      stream.body.find(R"("choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 40)") != std::string::npos,
      "with its tokens", stream.body);

  const std::string talk = R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content":
      [{"type": "text", "text": "Hello"}]}], "model": )" +
                           JsonText(served.name) + R"(, "max_tokens": 20, "temperature": 0, "user": "me")";
  const auto reply = asker.Post(chat, talk + "}"), events = asker.Post(chat, talk + R"(, "stream": true})");
  const auto text = Asker::TextOf(reply.body, false);
  asker.Check(text && reply.body.find(R"("object": "chat.completion")") != std::string::npos, "a chat", reply.body);
  asker.Check(Asker::TextOf(events.body, true) == text, "the same, as a stream", events.body);
  const size_t letter = text ? text->find_first_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", 1) : 0;
  if (letter != std::string::npos) {
    const std::string stop = text->substr(letter, 1);
    const auto stopped = asker.Post(chat, talk + R"(, "stop": [)" + JsonText(stop) + "]}");
    asker.Check(Asker::TextOf(stopped.body, false) == text->substr(0, text->find(stop)) &&
                    stopped.body.find(R"("finish_reason": "stop")") != std::string::npos,
                "a text to stop at", stopped.body);
  }

  asker.Check(asker.Get("/health").body.starts_with(R"({"status": "ok")"), "health");
  const auto models = asker.Get("/v1/models");
  asker.Check(Asker::IsJson(models.body) && models.body.find(JsonText(served.name)) != std::string::npos, "models");

  const struct {
    std::string body, field, what;
    int status;
  } wrong[] = {
      {"{\"prompt\": \"a\"", "", "half an object", 400},
      {"", "", "nothing", 400},
      {"[]", "", "a list", 400},
      {"{\"prompt\": \"\xff\"}", "", "bytes that are no UTF-8", 400},
      {std::string(60000, '['), "", "deep lists", 400},
      {"{}", "prompt", "no prompt", 400},
      {R"({"prompt": ""})", "prompt", "an empty prompt", 400},
      {R"({"prompt": ["a", "b"]})", "prompt", "two prompts", 400},
      {R"({"prompt": [258]})", "prompt", "a token that is none", 400},
      {R"({"prompt": ")" + std::string(3000, 'a') + R"("})", "prompt", "a prompt that is too long", 400},
      {R"({"prompt": "a", "temperature": "hot"})", "temperature", "a temperature that is a text", 400},
      {R"({"prompt": "a", "top_p": 0})", "top_p", "no share", 400},
      {R"({"prompt": "a", "n": 2})", "n", "two replies", 400},
      {R"({"prompt": "a", "logit_bias": {"999999": 1}})", "logit_bias", "a bias of no token", 400},
      {R"({"prompt": "a", "logprobs": 1})", "logprobs", "probabilities", 400},
      {R"({"prompt": "a", "presence_penalty": 0.5})", "presence_penalty", "another penalty", 400},
      {R"({"prompt": "a", "stop": ["a", "b", "c", "d", "e"]})", "stop", "five texts to stop at", 400},
      {R"({"prompt": "a", "no_such_field": 1})", "no_such_field", "a field that nobody knows", 400},
      {R"({"prompt": "a", "model": "another"})", "model", "another model", 404},
      {R"({"prompt": ")" + std::string(1 << 16, 'a') + R"("})", "", "a large body", 413},
  };
  for (const auto& [body, field, what, status] : wrong) {
    asker.CheckRefusal(asker.Post(completions, body), status, field, what);
  }
  asker.CheckRefusal(asker.Post(chat, R"({"messages": [{"role": "tool", "content": "a"}]})"), 400, "messages",
                     "a tool");
  asker.CheckRefusal(asker.Post(chat, R"({"prompt": "a"})"), 400, "prompt", "a prompt in a chat");
  asker.CheckRefusal(asker.Post(completions, R"({"prompt": "a"})", "text/plain"), 415, "", "a body of another type");
  asker.CheckRefusal(asker.Post("/v1/embeddings", R"({"input": "a"})"), 404, "", "another path");
  asker.CheckRefusal(asker.Get("/"), 404, "", "no path");
  asker.CheckRefusal(asker.Get(completions), 405, "", "another method");
  httplib::Client chunks = asker.NewClient();
  const auto endless = chunks.Post(
      completions,
      [](size_t offset, httplib::DataSink& sink) {
        const std::string part(4096, 'a');
        if (offset < 100 * part.size()) return sink.write(part.data(), part.size());
        sink.done();
        return true;
      },
      "application/json");
  asker.CheckRefusal({endless ? endless->status : 0, endless ? endless->body : "", {}}, 413, "",
                     "a large body in chunks");
  httplib::Client stays = asker.NewClient();
  stays.set_keep_alive(true);  // (else it asks for the end itself)
  const auto health = stays.Get("/health");
  asker.Check(health && health->get_header_value("Connection") == "close", "one request a connection");
  httplib::Request unknown;
  unknown.method = "PRI";
  unknown.path = completions;
  const auto refused = asker.NewClient().send(unknown);
  asker.CheckRefusal({refused ? refused->status : 0, refused ? refused->body : "", {}}, 405, "", "an unknown method");
  asker.Check(Asker::TextOf(asker.Post(completions, question + "}").body, false) == alone, "and still a completion");
  return asker.wrong();
}

constexpr const char* kHelp =
    "serve MODEL: OpenAI's completions and chat completions from a GGUF file, or a folder of transformers\n"
    "  --host ADDRESS     (default 127.0.0.1)\n"
    "  --port N           (default 8080; 0: any that is free)\n"
    "  --name NAME        of the model in requests (default: of the file)\n"
    "  --scheme b158|a48  inputs of 8 bits (the models' own), or as a4.8 has them\n"
    "  --kv 16|8|4|3      bits of the cache (default 8; 3 with a4.8)\n"
    "  --conversations N  replies in a pass (default 4)\n"
    "  --queue N          requests that wait for that (default 16); more are refused with 429\n"
    "  --pages N          of 256 tokens, of all conversations (default: what they take at most)\n"
    "  --max-body BYTES   of a request (default 1048576)\n"
    "  --grace SECONDS    that replies have to end after SIGINT or SIGTERM (default 5)\n"
    "  --threads N        (default: one a CPU)\n"
    "  --i2s A|B|C        the layout of I2_S, which files do not say (official files: A)\n"
    "  --quick            makes a small file of untrained weights, serves it, and asks itself\n";

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  bool quick = false;
  Options options(argc, argv, kHelp);
  const auto whole = [&](double least, double most) { return static_cast<size_t>(options.Whole(least, most)); };
  while (options.Next()) {
    if (options.Is("--quick")) {
      quick = true;
    } else if (options.Is("--host")) {
      arguments.host = options.Value();
    } else if (options.Is("--port")) {
      arguments.port = static_cast<int>(whole(0, 65535));
    } else if (options.Is("--name")) {
      arguments.name = options.Value();
    } else if (options.Is("--scheme")) {
      arguments.scheme = options.OneOf({"b158", "a48"});
    } else if (options.Is("--kv")) {
      arguments.cache_bits = std::stoul(options.OneOf({"16", "8", "4", "3"}));
    } else if (options.Is("--threads")) {
      arguments.threads = whole(1, 1024);
    } else if (options.Is("--conversations")) {
      arguments.conversations = whole(1, 1024);
    } else if (options.Is("--queue")) {
      arguments.queue = whole(0, 1024);
    } else if (options.Is("--pages")) {
      arguments.pages = whole(1, 1e9);
    } else if (options.Is("--max-body")) {
      arguments.max_body = whole(1, 1e9);
    } else if (options.Is("--grace")) {
      arguments.grace = options.Number(0, 3600);
    } else if (options.Is("--i2s")) {
      arguments.checkpoint.decode.i2s = I2sLayoutOf(options);
    } else if (options.IsPath() && arguments.model.empty()) {
      arguments.model = options.Path();
    } else {
      options.RefuseUnknown();
    }
  }
  if (quick) {
    arguments.model =
        (std::filesystem::temp_directory_path() / ("bitnet_serve_quick." + std::to_string(getpid()) + ".gguf"))
            .string();
    arguments.port = 0;
    arguments.conversations = 2;
    arguments.queue = 1;
    arguments.max_body = 1 << 16;
    MakeSmallGguf(arguments.model, "I2_S");
  }
  if (arguments.model.empty()) options.Misused("which model?");
  if (arguments.cache_bits == 0) arguments.cache_bits = arguments.scheme == "b158" ? 8 : 3;

  // Before there are threads, so that none of them is interrupted.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  ThreadPool pool(arguments.threads == 0 ? DefaultExecutor().Threads() : arguments.threads);
  const SimdBackend backend(pool);
  const Checkpoint checkpoint = Need(Checkpoint::Open(arguments.model, arguments.checkpoint));
  const LoadedTokenizer loaded = Need(LoadTokenizer(arguments.model));
  if (quick) std::filesystem::remove(arguments.model);  // it is open
  for (const std::string& note : loaded.notes) std::fprintf(stderr, "%s\n", note.c_str());
  if (arguments.name.empty()) {
    auto path = std::filesystem::absolute(arguments.model).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();  // "folder/"
    arguments.name = std::filesystem::is_directory(path) ? path.filename().string() : path.stem().string();
  }
  const openai::Served served = {ReplaceInvalidUtf8(arguments.name), loaded, FindChatFormat(loaded.chat_template),
                                 checkpoint.model_config().vocab};
  if (arguments.scheme == "b158") return RunWith<B158>(checkpoint, served, arguments, backend, signals, quick);
  return RunWith<A48>(checkpoint, served, arguments, backend, signals, quick);
}
