// PagesOfPass: the pages of a cache pool that a pass writes to, taken before anything runs: new ones, and copies of
// those that other conversations share.
#ifndef BITNET_MODEL_PAGES_OF_PASS_H_
#define BITNET_MODEL_PAGES_OF_PASS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/base/assert.h"
#include "bitnet/base/result.h"
#include "bitnet/base/size.h"
#include "bitnet/model/cache_pool.h"
#include "bitnet/model/transformer_state.h"

namespace bitnet {

// The states have them while it runs, and lose them again if it fails.
template <Scheme S, Backend B>
class PagesOfPass {
  using Pool = CachePool<S, B>;
  using Turn = TransformerTurn<S, B>;
  using Workspace = TransformerWorkspace<S, B>;

 public:
  PagesOfPass(const B& backend, std::span<const Turn> turns, Workspace& workspace)
      : backend_(backend), turns_(turns), workspace_(workspace) {
    workspace_.taken_.clear();
    workspace_.copying_.clear();
    workspace_.replaced_.clear();
  }
  ~PagesOfPass() {
    if (!kept_) static_cast<void>(backend_.Finish(workspace_.stream_));  // pages must not be written to any more
    Pool& pool = *turns_[0].state->pages_.pool();
    pool.Release(workspace_.taken_);
    for (const auto& [turn, index, page] : workspace_.replaced_) {
      // What a pass that failed wrote to is the copy.
      const uint32_t unused = kept_ ? page : turns_[turn].state->pages_.Exchange(index, page);
      pool.Release({&unused, 1});
    }
    for (const Turn& turn : turns_) turn.state->pages_.Truncate(PagesFor(turn.state->length_));
  }
  PagesOfPass(const PagesOfPass&) = delete;
  PagesOfPass& operator=(const PagesOfPass&) = delete;

  Result<Done> Take() {
    Pool& pool = *turns_[0].state->pages_.pool();
    workspace_.copying_.reserve(turns_.size());
    workspace_.replaced_.reserve(turns_.size());
    size_t needed = 0;
    for (size_t i = 0; i < turns_.size(); ++i) {
      TransformerState<S, B>& state = *turns_[i].state;
      BITNET_ASSERT(state.pages_.pool() == &pool, "Transformer: the states of a pass must be of one pool");
      const size_t pages = PagesFor(state.length_ + turns_[i].tokens.size());
      state.pages_.Reserve(pages);
      const bool copies = NeedsCopy(pool, i);
      needed = SizeSum(needed, pages - state.pages_.size() + (copies ? 1 : 0));
      if (copies) workspace_.copying_.push_back(i);
    }
    workspace_.tables_.resize(turns_.size());
    if (Result<Done> pages = pool.Take(needed, workspace_.taken_); !pages.ok()) return pages;
    for (size_t i = 0; i < turns_.size(); ++i) {
      TransformerState<S, B>& state = *turns_[i].state;
      const size_t replaced = workspace_.replaced_.size();
      if (replaced < workspace_.copying_.size() && workspace_.copying_[replaced] == i) {
        const size_t index = state.length_ / kPageTokens;
        const uint32_t copy = Next();
        workspace_.replaced_.push_back({i, index, state.pages_.Exchange(index, copy)});
        pool.ForEachLayer(
            [&](auto& cache) { backend_.CopyPage(workspace_.stream_, cache, workspace_.replaced_.back().page, copy); });
      }
      while (state.pages_.size() < PagesFor(state.length_ + turns_[i].tokens.size())) state.pages_.Append(Next());
      workspace_.tables_[i] = state.pages_.table();
    }
    return Done{};
  }
  void Keep() { kept_ = true; }

 private:
  static bool BeginsWithinPage(const TransformerState<S, B>& state) { return state.length_ % kPageTokens != 0; }
  // Whether a turn writes to a page that it shares. Of forks that all write to one in this pass the last keeps it: the
  // others have copies then. (Not where it would write over tokens of theirs, which they have again if the pass fails.)
  bool NeedsCopy(const Pool& pool, size_t turn) const {
    const TransformerState<S, B>& state = *turns_[turn].state;
    if (!BeginsWithinPage(state)) return false;
    const uint32_t page = state.pages_.table().back();
    size_t others = pool.Users(page) - 1;
    for (const Turn& earlier : turns_.first(turn)) {
      if (!BeginsWithinPage(*earlier.state) || earlier.state->pages_.table().back() != page) continue;
      if (earlier.state->length_ > state.length_) return true;
      --others;
    }
    return others != 0;
  }
  uint32_t Next() {
    const uint32_t page = workspace_.taken_.back();
    workspace_.taken_.pop_back();
    return page;
  }

  const B& backend_;
  std::span<const Turn> turns_;
  Workspace& workspace_;
  bool kept_ = false;
};

}  // namespace bitnet

#endif  // BITNET_MODEL_PAGES_OF_PASS_H_
