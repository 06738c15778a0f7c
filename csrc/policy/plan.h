// A policy as the bits from which each action is taken.
#pragma once
#include "overread.h"

namespace overread {

constexpr size_t MAX_FIELD_NAME = 64;  // of policy.feature_header
constexpr int ACTIONS = OVR_DO_TRIP + 1;

class Plan {
  public:
    explicit Plan(const ovr_policy& policy);
    // NULL, or what is wrong with the policy.
    static const char* fault(const ovr_policy& policy);
    // The strongest action that so many bits ask for.
    int action(double bits) const;
    // Bits from which this action or a stronger one is taken; infinite where none is.
    double from(int action) const { return from_[action]; }
    bool takes(int action) const { return takes_[action]; }
    // Bits of an alarm, and from which the action of tier strong is taken.
    double threshold() const { return threshold_; }

  private:
    double from_[ACTIONS];
    double threshold_;
    bool takes_[ACTIONS] = {};
};

// "log", "no-store", "redact", "trim", "truncate", "block", "trip".
const char* action_name(int action);

// What goes of a head that no cache may keep, NULL at the end, and what takes its place.
extern const char* const NO_STORE_STRIPS[];
const ovr_header* no_store_sets(size_t* count);

}  // namespace overread
