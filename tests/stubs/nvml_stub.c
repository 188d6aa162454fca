/* A stand-in for NVIDIA's libnvidia-ml.so.1, for machines without a GPU: it plays a schedule of watts and faults.
 *
 *   gcc -shared -fPIC -O2 -pthread -Wl,-soname,libnvidia-ml.so.1 -o DIR/libnvidia-ml.so.1 nvml_stub.c
 *
 * Any program that uses NVML takes it unchanged: start it with LD_LIBRARY_PATH=DIR, or in Python set
 * pynvml.nvmlLib = ctypes.CDLL("DIR/libnvidia-ml.so.1") before nvmlInit(). Leave symbols out, as an old driver does,
 * with -DWITHOUT_ENERGY, -DWITHOUT_FIELDS, -DWITHOUT_EVENT_REASONS or -DWITHOUT_PROCESSES_V3; or those that CUDA 14
 * is to remove, with -DWITHOUT_DEPRECATED.
 *
 * THE SCHEDULE is the file that the environment variable NVML_STUB_SCHEDULE names when NVML is initialised (read again
 * where it has changed since); without one there is a single GPU at 100 W. One word and its values a line, # begins a
 * comment; what follows a line `gpu` is about that GPU, what stands before the first about the driver:
 *
 *   driver 580.65.06            version of the driver
 *   origin 1234.5               CLOCK_MONOTONIC (Python: time.perf_counter) of schedule time 0; default: first init
 *   gpu                         begins a GPU; they are numbered in this order
 *   name NVIDIA H100            uuid GPU-...        texts
 *   tick 0.1                    period in s at which counter and power readings change; phase 0.03 shifts it
 *   duty 0.25                   share of each tick, at its end, in which the sensor looks: the rest goes unseen
 *   quantum 10                  millijoules: step of the counter;  energy 5000: its value at the start
 *   watts 100                   power from time 0 on
 *   alternate 0.1 300 100       power from time 0 on: period in s, first half at 300 W, second at 100 W
 *   error SYMBOL CODE           the function answers this NVML code (3 not supported, 4 no permission, 9 driver not
 *                               loaded, 15 GPU is lost, 0 works again); also before the first gpu (nvmlInitWithFlags)
 *   field_error ID SCOPE CODE   the entry of nvmlDeviceGetFieldValues fails, the call succeeds
 *   process PID                 a compute process; `gone PID` ends it
 *   lost 1                      every call answers 15;  stuck 1: the counter stands still;  reset 1: it starts again
 *                               from 0, as after a reload of the driver
 *   Numbers that are answered as they stand: temperature 40 (C), sm_clock 1410 and memory_clock 1215 (MHz), pstate 0,
 *   power_limit 400 (W), persistence 1, ecc 1, mig 0, reasons 0x4 (clocks event reasons), architecture 7,
 *   violating_power 0.3 and violating_thermal 0.1 (share of the time that is counted as violation), module_watts 50
 *   (what scope MODULE reads on top), stamp 1 (the stamp of a field is 1: time of the tick, 2: of the call, 0: none).
 *   at 2.5 WORD VALUES...       any of these from 2.5 s on; lines of one GPU stand in the order of time
 *
 * Readings: total energy in mJ (also field 83), violation times in ns (also fields 74 and 75), power usage and field
 * 185: average of the last second, field 186: average of what was seen in the last tick. 32-bit values of fields carry
 * rubbish in the upper half, as the union of the real library may.
 *
 * TIME is CLOCK_MONOTONIC from `origin` on. For tests without waiting set the exported variable
 *   ctypes.c_double.in_dll(library, "nvml_stub_time").value = 2.5     (negative: back to the real clock)
 * Also exported: double nvmlStubNow(void); int nvmlStubLoad(const char *path), which starts over with a schedule;
 * int nvmlStubSetWatts(unsigned gpu, double watts), which changes the power now (a load that follows the program);
 * double nvmlStubJoules(unsigned gpu, double from, double to), the joules that were truly spent.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { GPUS = 16, EVENTS = 256, STEPS = 1 << 16 };
enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15 };
enum { TYPE_UINT = 1, TYPE_ULL = 3 };

typedef unsigned long long ull;
typedef struct { double at, period, first, second, joules; } Step; /* joules: spent before `at` */
typedef struct { double at; char word[64]; double values[3]; } Event;
typedef struct {
    char name[96], uuid[96];
    double tick, phase, duty, quantum, energy;
    Event events[EVENTS];
    int event_count;
    Step *steps;
    long step_count;
    long seen_tick; /* cache: joules seen up to this tick */
    double seen_joules;
} Gpu;
typedef struct { unsigned field, scope; long long stamp, latency; unsigned type, code; ull value; } Field;
typedef struct { unsigned pid; ull memory; unsigned instance, compute; } Process;
typedef struct { ull reference, violation; } Violation;

double nvml_stub_time = -1;

static Gpu gpus[GPUS], driver; /* `driver` carries the errors that belong to no GPU */
static unsigned gpu_count, references;
static char driver_version[80], loaded[4096];
static struct timespec loaded_at;
static double origin;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- time and power ---- */

static double monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

double nvmlStubNow(void) { return nvml_stub_time >= 0 ? nvml_stub_time : monotonic() - origin; }

static double within(const Step *s, double since) { /* joules of a step from its begin on */
    if (since <= 0) return 0;
    if (s->period <= 0) return s->first * since;
    double rounds = floor(since / s->period), rest = since - rounds * s->period, half = s->period / 2;
    double part = rest < half ? s->first * rest : s->first * half + s->second * (rest - half);
    return rounds * half * (s->first + s->second) + part;
}

static double spent(const Gpu *g, double t) { /* true joules from 0 to t */
    long i = g->step_count - 1;
    while (i > 0 && g->steps[i].at > t) i--;
    return i < 0 ? 0 : g->steps[i].joules + within(&g->steps[i], t - g->steps[i].at);
}

static int add_step(Gpu *g, double at, double period, double first, double second) {
    if (g->step_count == STEPS) return TOO_SMALL;
    g->steps[g->step_count] = (Step){at, period, first, second, spent(g, at)};
    g->step_count++; /* last, so that a thread which reads meanwhile sees whole steps */
    return SUCCESS;
}

static long tick_at(const Gpu *g, double t) { return (long)floor((t - g->phase) / g->tick + 1e-9); }

static double seen_in(const Gpu *g, long tick) { /* joules that the sensor believes of one tick */
    double end = g->phase + tick * g->tick;
    return (spent(g, end) - spent(g, end - g->duty * g->tick)) / g->duty;
}

static double seen(Gpu *g, double t) { /* joules on the counter, before quantum and start value */
    long tick = tick_at(g, t);
    if (tick <= 0) return 0;
    if (g->duty >= 1) return spent(g, g->phase + tick * g->tick) - spent(g, g->phase);
    pthread_mutex_lock(&lock);
    if (tick < g->seen_tick) g->seen_tick = 0, g->seen_joules = 0;
    while (g->seen_tick < tick) g->seen_joules += seen_in(g, ++g->seen_tick);
    double joules = g->seen_joules;
    pthread_mutex_unlock(&lock);
    return joules;
}

/* ---- what holds at a time ---- */

static const Event *latest(const Gpu *g, const char *word, double now) {
    for (int i = g->event_count - 1; i >= 0; i--)
        if (g->events[i].at <= now && !strcmp(g->events[i].word, word)) return &g->events[i];
    return NULL;
}

static double fact(const Gpu *g, const char *word, double fallback) {
    const Event *e = latest(g, word, nvmlStubNow());
    return e ? e->values[0] : fallback;
}

static double accumulated(const Gpu *g, const char *word) { /* integral of a share over time, in s */
    double now = nvmlStubNow(), sum = 0, since = 0, share = 0;
    for (int i = 0; i < g->event_count; i++) {
        const Event *e = &g->events[i];
        if (strcmp(e->word, word) || e->at > now) continue;
        sum += share * (e->at - since), since = e->at, share = e->values[0];
    }
    return sum + share * (now - since);
}

static int failing(const Gpu *g, const char *symbol) {
    if (g != &driver && fact(g, "lost", 0)) return LOST;
    const Event *e = latest(g, symbol, nvmlStubNow());
    return e ? (int)e->values[0] : SUCCESS;
}

static ull counter_mj(Gpu *g) {
    double now = nvmlStubNow(), start = g->energy;
    const Event *stuck = latest(g, "stuck", now), *reset;
    if (stuck && stuck->values[0]) now = stuck->at;
    double joules = seen(g, now);
    if ((reset = latest(g, "reset", now))) joules -= seen(g, reset->at), start = 0;
    return (ull)(floor(joules * 1e3 / g->quantum + 1e-6) * g->quantum + start);
}

static long shown_tick(const Gpu *g, double t) { /* power is shown from the start, as if time 0 were not its begin */
    long tick = tick_at(g, t);
    return tick > 1 ? tick : 1;
}

static double tick_watts(const Gpu *g, double t) { return seen_in(g, shown_tick(g, t)) / g->tick; }

static double average_watts(const Gpu *g, double t) { /* of the last second, at the last tick */
    double end = g->phase + shown_tick(g, t) * g->tick, begin = fmax(0, end - 1);
    return (spent(g, end) - spent(g, begin)) / (end - begin);
}

/* ---- the schedule ---- */

static Gpu *begin_gpu(void) {
    Gpu *g = &gpus[gpu_count];
    Step *steps = g->steps ? g->steps : malloc(STEPS * sizeof(Step));
    memset(g, 0, sizeof *g);
    g->steps = steps;
    g->tick = 0.1, g->duty = 1, g->quantum = 1, g->energy = 1e6;
    snprintf(g->name, sizeof g->name, "NVIDIA Stub");
    snprintf(g->uuid, sizeof g->uuid, "GPU-%08x-0000-0000-0000-000000000000", gpu_count);
    gpu_count++;
    return g;
}

static int setting(Gpu *g, const char *word, const char *rest) { /* what does not change over time */
    struct { const char *word; double *at; } numbers[] = {{"tick", &g->tick}, {"phase", &g->phase}, {"duty", &g->duty},
        {"quantum", &g->quantum}, {"energy", &g->energy}, {"origin", &origin}};
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(word, numbers[i].word)) return *numbers[i].at = atof(rest), 1;
    struct { const char *word; char *at; size_t room; } texts[] = {{"name", g->name, sizeof g->name},
        {"uuid", g->uuid, sizeof g->uuid}, {"driver", driver_version, sizeof driver_version}};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(word, texts[i].word)) return snprintf(texts[i].at, texts[i].room, "%s", rest), 1;
    return 0;
}

static void event(Gpu *g, double at, const char *word, const char *rest) {
    double v[3] = {0, 0, 0};
    char named[64];
    int used = 0;
    if (!strcmp(word, "error") && sscanf(rest, "%63s%n", named, &used) == 1) word = named, rest += used;
    char *next = (char *)rest;
    for (int i = 0; i < 3; i++) v[i] = strtod(next, &next);
    if (g != &driver && !strcmp(word, "watts")) add_step(g, at, 0, v[0], 0);
    else if (g != &driver && !strcmp(word, "alternate")) add_step(g, at, v[0], v[1], v[2]);
    else if (g->event_count < EVENTS) {
        Event *e = &g->events[g->event_count++];
        e->at = at;
        snprintf(e->word, sizeof e->word, "%s", word);
        memcpy(e->values, v, sizeof v);
    }
}

static void line_of(char *line, Gpu **g) {
    char word[64];
    int used = 0;
    double at = 0;
    line[strcspn(line, "#\r\n")] = 0;
    if (sscanf(line, "%63s %n", word, &used) != 1) return;
    if (!strcmp(word, "gpu")) {
        if (gpu_count < GPUS) *g = begin_gpu();
        return;
    }
    line += used;
    if (!strcmp(word, "at")) {
        if (sscanf(line, "%lf %63s %n", &at, word, &used) != 2) return;
        line += used;
    }
    size_t end = strlen(line);
    while (end && line[end - 1] == ' ') line[--end] = 0;
    if (!setting(*g, word, line)) event(*g, at, word, line);
}

int nvmlStubLoad(const char *path) {
    char line[512];
    Gpu *g = &driver;
    FILE *file = path ? fopen(path, "r") : NULL;
    if (path && !file) return fprintf(stderr, "nvml_stub: cannot read %s\n", path), INVALID;
    memset(&driver, 0, sizeof driver);
    gpu_count = 0, origin = monotonic();
    snprintf(driver_version, sizeof driver_version, "580.65.06");
    while (file && fgets(line, sizeof line, file)) line_of(line, &g);
    if (file) fclose(file);
    if (!path) add_step(begin_gpu(), 0, 0, 100, 0);
    return SUCCESS;
}

static int load_named(void) { /* the schedule of the environment, where it is new */
    const char *path = getenv("NVML_STUB_SCHEDULE");
    struct stat s;
    if (path && stat(path, &s)) return nvmlStubLoad(path);
    if (path && !strcmp(loaded, path) && !memcmp(&loaded_at, &s.st_mtim, sizeof loaded_at)) return SUCCESS;
    if (!path && gpu_count && !loaded[0]) return SUCCESS;
    snprintf(loaded, sizeof loaded, "%s", path ? path : "");
    if (path) loaded_at = s.st_mtim;
    return nvmlStubLoad(path);
}

int nvmlStubSetWatts(unsigned index, double watts) {
    if (index >= gpu_count) return INVALID;
    pthread_mutex_lock(&lock);
    int code = add_step(&gpus[index], nvmlStubNow(), 0, watts, 0);
    pthread_mutex_unlock(&lock);
    return code;
}

double nvmlStubJoules(unsigned index, double from, double to) {
    return index < gpu_count ? spent(&gpus[index], to) - spent(&gpus[index], from) : NAN;
}

/* ---- NVML: the library ---- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int code = references ? SUCCESS : load_named();
    if (!code) code = failing(&driver, "nvmlInitWithFlags");
    if (!code) references++;
    return code;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return references ? references--, SUCCESS : 1; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case SUCCESS: return "Success";
    case 1: return "Uninitialized";
    case INVALID: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case TOO_SMALL: return "Insufficient Size";
    case 9: return "Driver Not Loaded";
    case LOST: return "GPU is lost";
    case 16: return "GPU requires reset";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

static int text(char *to, unsigned room, const char *from) {
    return (unsigned)snprintf(to, room, "%s", from) < room ? SUCCESS : TOO_SMALL;
}
int nvmlSystemGetDriverVersion(char *to, unsigned room) { return text(to, room, driver_version); }
int nvmlSystemGetNVMLVersion(char *to, unsigned room) { return text(to, room, "13.580.65.06"); }
int nvmlSystemGetCudaDriverVersion(int *to) { return *to = 13000, SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *to) { return *to = 13000, SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *to) {
    if (!references) return 1;
    *to = gpu_count;
    return failing(&driver, "nvmlDeviceGetCount_v2");
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **to) {
    if (!references) return 1;
    if (index >= gpu_count) return INVALID;
    *to = &gpus[index];
    return failing(*to, "nvmlDeviceGetHandleByIndex_v2");
}
int nvmlDeviceGetHandleByUUID(const char *uuid, Gpu **to) {
    for (unsigned i = 0; i < gpu_count; i++)
        if (!strcmp(gpus[i].uuid, uuid)) return *to = &gpus[i], SUCCESS;
    return NOT_FOUND;
}

/* ---- NVML: one GPU ---- */

#define ASK(g) { int code = references ? failing(g, __func__) : 1; if (code) return code; }
#define NUMBER(symbol, type, value) int symbol(Gpu *g, type *to) { ASK(g) return *to = (type)(value), SUCCESS; }

int nvmlDeviceGetName(Gpu *g, char *to, unsigned room) { ASK(g) return text(to, room, g->name); }
int nvmlDeviceGetUUID(Gpu *g, char *to, unsigned room) { ASK(g) return text(to, room, g->uuid); }
NUMBER(nvmlDeviceGetIndex, unsigned, g - gpus)
NUMBER(nvmlDeviceGetArchitecture, unsigned, fact(g, "architecture", 7))
NUMBER(nvmlDeviceGetPersistenceMode, unsigned, fact(g, "persistence", 1))
NUMBER(nvmlDeviceGetPerformanceState, unsigned, fact(g, "pstate", 0))
NUMBER(nvmlDeviceGetPowerState, unsigned, fact(g, "pstate", 0))
NUMBER(nvmlDeviceGetComputeMode, unsigned, 0)
NUMBER(nvmlDeviceGetPowerUsage, unsigned, average_watts(g, nvmlStubNow()) * 1e3 + 0.5)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned, fact(g, "power_limit", 400) * 1e3)
NUMBER(nvmlDeviceGetPowerManagementLimit, unsigned, fact(g, "power_limit", 400) * 1e3)
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, 400000)
NUMBER(nvmlDeviceGetMaxMigDeviceCount, unsigned, fact(g, "mig", 0) ? 7 : 0)
#ifndef WITHOUT_DEPRECATED
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, ull, fact(g, "reasons", 0))
#endif
#ifndef WITHOUT_EVENT_REASONS
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, ull, fact(g, "reasons", 0))
#endif
#ifndef WITHOUT_ENERGY
NUMBER(nvmlDeviceGetTotalEnergyConsumption, ull, counter_mj(g))
#endif

int nvmlDeviceGetPowerManagementLimitConstraints(Gpu *g, unsigned *low, unsigned *high) {
    ASK(g)
    return *low = 100000, *high = 400000, SUCCESS;
}
#ifndef WITHOUT_DEPRECATED
int nvmlDeviceGetTemperature(Gpu *g, unsigned sensor, unsigned *to) {
    ASK(g)
    return sensor ? INVALID : (*to = (unsigned)fact(g, "temperature", 40), SUCCESS);
}
#endif
int nvmlDeviceGetTemperatureV(Gpu *g, int *request) { /* version, sensor, temperature */
    ASK(g)
    return request[2] = (int)fact(g, "temperature", 40), SUCCESS;
}
int nvmlDeviceGetClockInfo(Gpu *g, unsigned clock, unsigned *to) {
    ASK(g)
    *to = (unsigned)(clock == 2 ? fact(g, "memory_clock", 1215) : fact(g, "sm_clock", 1410));
    return clock < 4 ? SUCCESS : INVALID;
}
int nvmlDeviceGetMigMode(Gpu *g, unsigned *current, unsigned *pending) {
    ASK(g)
    return *current = *pending = (unsigned)fact(g, "mig", 0), SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(Gpu *g, unsigned index, Gpu **to) {
    (void)index, (void)to;
    ASK(g)
    return NOT_FOUND;
}
int nvmlDeviceGetEccMode(Gpu *g, unsigned *current, unsigned *pending) {
    ASK(g)
    return *current = *pending = (unsigned)fact(g, "ecc", 1), SUCCESS;
}
static ull violation_ns(const Gpu *g, int thermal) {
    return (ull)(accumulated(g, thermal ? "violating_thermal" : "violating_power") * 1e9);
}
#ifndef WITHOUT_DEPRECATED
int nvmlDeviceGetViolationStatus(Gpu *g, unsigned policy, Violation *to) {
    ASK(g)
    if (policy > 1) return NOT_SUPPORTED;
    to->reference = (ull)(nvmlStubNow() * 1e6);
    to->violation = violation_ns(g, policy);
    return SUCCESS;
}
#endif
int nvmlDeviceGetUtilizationRates(Gpu *g, unsigned *to) {
    ASK(g)
    return to[0] = 50, to[1] = 10, SUCCESS;
}
int nvmlDeviceGetMemoryInfo(Gpu *g, ull *to) { /* total, free, used */
    ASK(g)
    return to[0] = 16ull << 30, to[1] = 15ull << 30, to[2] = 1ull << 30, SUCCESS;
}

static int processes(Gpu *g, unsigned *count, Process *to) {
    unsigned pids[EVENTS], found = 0;
    double now = nvmlStubNow();
    for (int i = 0; i < g->event_count; i++) {
        const Event *e = &g->events[i];
        unsigned pid = (unsigned)e->values[0];
        if (e->at <= now && !strcmp(e->word, "process")) pids[found++] = pid;
        for (unsigned k = 0; e->at <= now && !strcmp(e->word, "gone") && k < found; k++)
            if (pids[k] == pid) pids[k--] = pids[--found];
    }
    unsigned room = *count;
    *count = found;
    if (found > room || (found && !to)) return TOO_SMALL;
    for (unsigned i = 0; i < found; i++) to[i] = (Process){pids[i], 1ull << 28, ~0u, ~0u};
    return SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v2(Gpu *g, unsigned *count, Process *to) {
    ASK(g)
    return processes(g, count, to);
}
#ifndef WITHOUT_PROCESSES_V3
int nvmlDeviceGetComputeRunningProcesses_v3(Gpu *g, unsigned *count, Process *to) {
    ASK(g)
    return processes(g, count, to);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Gpu *g, unsigned *count, Process *to) {
    (void)to;
    ASK(g)
    return *count = 0, SUCCESS;
}
#endif

#ifndef WITHOUT_FIELDS
static unsigned field_code(const Gpu *g, const Field *f, double now) {
    for (int i = g->event_count - 1; i >= 0; i--) {
        const Event *e = &g->events[i];
        if (e->at <= now && !strcmp(e->word, "field_error") && e->values[0] == f->field && e->values[1] == f->scope)
            return (unsigned)e->values[2];
    }
    unsigned known[] = {74, 75, 83, 185, 186};
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (f->scope <= 1 && f->field == known[i]) return SUCCESS;
    return NOT_SUPPORTED;
}
int nvmlDeviceGetFieldValues(Gpu *g, int count, Field *fields) {
    ASK(g)
    double now = nvmlStubNow(), tick = g->phase + tick_at(g, now) * g->tick;
    int stamp = (int)fact(g, "stamp", 1);
    for (Field *f = fields; f < fields + count; f++) {
        f->code = field_code(g, f, now);
        f->value = 0xdeadbeef00000000ull;
        if (f->code) continue;
        f->stamp = (long long)(stamp == 1 ? tick * 1e6 : stamp == 2 ? now * 1e6 : 0), f->latency = 0;
        f->type = f->field < 185 ? TYPE_ULL : TYPE_UINT;
        if (f->field == 83) f->value = counter_mj(g);
        else if (f->field < 83) f->value = violation_ns(g, f->field == 75);
        if (f->field < 185) continue;
        double watts = f->field == 185 ? average_watts(g, now) : tick_watts(g, now);
        if (f->scope == 1) watts += fact(g, "module_watts", 0);
        f->value |= (unsigned)(watts * 1e3 + 0.5);
    }
    return SUCCESS;
}
#endif
