// Hyperscan or Vectorscan with the rules as expressions. Both are libhs with the same calls, and Debian lets only one be
// installed, so the library is a file that is loaded by its path, apart from all other symbols.
#pragma once

#include <dlfcn.h>
#include <hs.h>

#include <set>

#include "race.h"

namespace bench {

class Expressions {
  public:
    // A line of `patterns` is flags, a blank and an expression; its number is its id.
    Expressions(const char* library, const char* patterns) {
        void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
        if (!handle) fail(dlerror());
        const auto compile = call<decltype(&hs_compile_multi)>(handle, "hs_compile_multi");
        const auto scratch = call<decltype(&hs_alloc_scratch)>(handle, "hs_alloc_scratch");
        scan_ = call<decltype(&hs_scan)>(handle, "hs_scan");
        free_scratch_ = call<decltype(&hs_free_scratch)>(handle, "hs_free_scratch");
        free_database_ = call<decltype(&hs_free_database)>(handle, "hs_free_database");
        version = call<decltype(&hs_version)>(handle, "hs_version")();
        std::vector<std::string> lines;
        std::ifstream f(patterns);
        for (std::string line; std::getline(f, line);) lines.push_back(line);
        std::vector<const char*> expressions;
        std::vector<unsigned> flags, ids;
        for (const std::string& line : lines) {
            char* rest = nullptr;
            flags.push_back(unsigned(std::strtoul(line.c_str(), &rest, 10)));
            expressions.push_back(rest + 1);
            ids.push_back(unsigned(ids.size()));
        }
        count = ids.size();
        hs_compile_error_t* error = nullptr;
        if (compile(expressions.data(), flags.data(), ids.data(), unsigned(count), HS_MODE_BLOCK, nullptr, &database_, &error))
            fail(std::string(library) + ": " + error->message);
        if (scratch(database_, &scratch_)) fail(std::string(library) + ": no scratch");
        hs_database_info_ = call<decltype(&hs_database_info)>(handle, "hs_database_info");
    }
    Expressions(const Expressions&) = delete;
    Expressions& operator=(const Expressions&) = delete;
    ~Expressions() {
        free_scratch_(scratch_);
        free_database_(database_);
    }

    void scan(const Body& b) { scan_(database_, b.data, unsigned(b.size), 0, scratch_, count_hit, this); }
    std::set<unsigned> found(const Body& b) {
        std::set<unsigned> ids;
        scan_(database_, b.data, unsigned(b.size), 0, scratch_, keep_hit, &ids);
        return ids;
    }
    // What the library says of the compiled database: version, instruction set, mode.
    std::string info() const {
        char* text = nullptr;
        if (hs_database_info_(database_, &text)) fail("no database info");
        std::string result = text;
        std::free(text);
        return result;
    }

    std::string version;
    size_t count = 0;
    uint64_t hits = 0;

  private:
    template <class F>
    static F call(void* handle, const char* name) {
        void* symbol = dlsym(handle, name);
        if (!symbol) fail(std::string("no ") + name);
        return reinterpret_cast<F>(symbol);
    }
    static int count_hit(unsigned, unsigned long long, unsigned long long, unsigned, void* self) {
        static_cast<Expressions*>(self)->hits++;
        return 0;
    }
    static int keep_hit(unsigned id, unsigned long long, unsigned long long, unsigned, void* ids) {
        static_cast<std::set<unsigned>*>(ids)->insert(id);
        return 0;
    }
    hs_database_t* database_ = nullptr;
    hs_scratch_t* scratch_ = nullptr;
    decltype(&hs_scan) scan_ = nullptr;
    decltype(&hs_free_scratch) free_scratch_ = nullptr;
    decltype(&hs_free_database) free_database_ = nullptr;
    decltype(&hs_database_info) hs_database_info_ = nullptr;
};

}  // namespace bench
