/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The split ring on processors that order little: publish, arm, notify, and what an index leads to, in both directions.
 *
 * What a side stores stays in its store buffer and reaches memory some time, each word by itself, in any order. What it loads is what it has
 * of a word, which may be older than memory; each word is brought up to date by itself, some time. A load whose value nobody
 * needs yet (of a buffer) may be done as late as one likes. A barrier for stores waits for the buffer; one for loads brings everything up to
 * date; the release before an index waits for the late loads, too.
 * An ARM processor may do all of that. X86: words reach memory in the order in which they were stored, what is loaded is what memory has, and
 * no load is late. There only the fences are needed, so no test on such a processor finds the others missing.
 *
 * A notification takes no time: it overtakes everything that has not reached memory.
 * What is left out: chains of several descriptors (they are one word here), requests that end in another order, indices that wrap, and lies.
 *
 * Each safeguard has a name by which proofs/run switches it off, to see that the model then finds what it is there for.
 * FLAGS: sides suppress notifications by flags; else by the index that they wait for.
 */

#define SIZE 2     /* slots */
#define REQUESTS 3 /* one slot at least is used again */
#define slot(r) (((r) - 1) % SIZE)
#define NEVER 255

/* Words, by number. A request's words hold its number, from 1 on. The driver's first. */
#define DATA 0
#define DESC 2
#define AVAIL 4
#define CALL_ME 5 /* the driver's wish */
#define ANSWER 6
#define USED 8
#define DONE 10
#define KICK_ME 11 /* the device's */
#define WORDS 12

byte memory[WORDS];
#ifdef X86
chan driver_out = [8] of { byte, byte }; /* word, value */
chan device_out = [8] of { byte, byte };
#define known memory
#else
byte stored[WORDS]; /* 0: nothing in the buffer, else 1 more than what is */
byte known[WORDS];  /* to the side that only reads it */
#endif

byte back;           /* requests that the driver has back */
bool kicked, called; /* notifications */
byte read_data[SIZE], read_answer[SIZE]; /* late loads: of which request? */

bool descriptor_is_there = true, data_are_there = true, element_is_there = true, answer_is_there = true; /* as those who look find */

#ifdef X86
inline store(word, value)
{
    if
    :: (word) < ANSWER -> driver_out!word, value
    :: else -> device_out!word, value
    fi
}
#define driver_stored (len(driver_out) > 0)
#define device_stored (len(device_out) > 0)
#else
inline store(word, value) { stored[word] = (value) + 1 }
#define driver_stored (stored[0] || stored[1] || stored[2] || stored[3] || stored[4] || stored[5])
#define device_stored (stored[6] || stored[7] || stored[8] || stored[9] || stored[10] || stored[11])
#endif
#define driver_loads (read_answer[0] || read_answer[1])
#define device_loads (read_data[0] || read_data[1])

#ifdef X86
inline load_driver() { skip }
inline load_device() { skip }
#else
inline load_driver() { d_step { known[6] = memory[6]; known[7] = memory[7]; known[8] = memory[8]; known[9] = memory[9];
    known[10] = memory[10]; known[11] = memory[11] } }
inline load_device() { d_step { known[0] = memory[0]; known[1] = memory[1]; known[2] = memory[2]; known[3] = memory[3];
    known[4] = memory[4]; known[5] = memory[5] } }
#endif

#ifdef FLAGS
#define wanted(wish, was, now) ((wish) == 0)
#define wish_at(index) 0
#define wish_none(index) 1
#else
#define wanted(wish, was, now) ((wish) >= (was) && (wish) < (now))
#define wish_at(index) (index)
#define wish_none(index) ((index) == 0 -> NEVER : (index) - 1)
#endif

/* ------------------------------------------------------------------ what the processors do by themselves */

#ifdef X86
active proctype buffers()
{
    byte word, value;
end:
    do
    :: atomic { driver_out?word, value -> memory[word] = value; word = 0; value = 0 }
    :: atomic { device_out?word, value -> memory[word] = value; word = 0; value = 0 }
    od
}
#else
inline reach(word)
{
    atomic { stored[word] != 0 -> memory[word] = stored[word] - 1; stored[word] = 0 }
}

inline learn(word)
{
    atomic { known[word] != memory[word] -> known[word] = memory[word] }
}

active proctype buffers()
{
end:
    do
    :: reach(0)
    :: reach(1)
    :: reach(2)
    :: reach(3)
    :: reach(4)
    :: reach(5)
    :: reach(6)
    :: reach(7)
    :: reach(8)
    :: reach(9)
    :: reach(10)
    :: reach(11)
    od
}

active proctype caches()
{
end:
    do
    :: learn(0)
    :: learn(1)
    :: learn(2)
    :: learn(3)
    :: learn(4)
    :: learn(5)
    :: learn(6)
    :: learn(7)
    :: learn(8)
    :: learn(9)
    :: learn(10)
    :: learn(11)
    od
}
#endif

inline load_data(s)
{
    atomic { read_data[s] != 0 -> data_are_there = known[DATA + s] == read_data[s]; assert(data_are_there); read_data[s] = 0 }
}

inline load_answer(s)
{
    atomic { read_answer[s] != 0 -> answer_is_there = known[ANSWER + s] == read_answer[s]; assert(answer_is_there); read_answer[s] = 0 }
}

active proctype late_loads()
{
end:
    do
    :: load_data(0)
    :: load_data(1)
    :: load_answer(0)
    :: load_answer(1)
    od
}

/* ------------------------------------------------------------------ the barriers */

inline driver_acquire()
{
#ifndef DRIVER_ACQUIRE
    load_driver()
#else
    skip
#endif
}

inline driver_release()
{
#ifndef DRIVER_RELEASE_STORES
    !driver_stored;
#endif
#if !defined(DRIVER_RELEASE_LOADS) || defined(X86)
    !driver_loads;
#endif
    skip
}

inline device_acquire()
{
#ifndef DEVICE_ACQUIRE
    load_device()
#else
    skip
#endif
}

inline device_release()
{
#ifndef DEVICE_RELEASE_STORES
    !device_stored;
#endif
#if !defined(DEVICE_RELEASE_LOADS) || defined(X86)
    !device_loads;
#endif
    skip
}

/* ------------------------------------------------------------------ the driver */

active proctype driver()
{
    byte sent, shown, seen;
    bool idle;
    do
    :: back == REQUESTS -> break
    :: else ->
        idle = true;
        seen = known[DONE];
        if
        :: seen != back ->
            driver_acquire();
            idle = false
        :: else
        fi;
        do
        :: atomic { back != seen && read_answer[slot(back + 1)] == 0 ->
            element_is_there = known[USED + slot(back + 1)] == back + 1;
            assert(element_is_there);
            read_answer[slot(back + 1)] = back + 1;
            back++
        }
        :: back == seen -> break
        od;
        do
        :: atomic { sent < REQUESTS && sent - back < SIZE ->
            store(DATA + slot(sent + 1), sent + 1);
            store(DESC + slot(sent + 1), sent + 1);
            sent++;
            idle = false
        }
        :: sent > shown || sent > back || back == REQUESTS -> break
        od;
        if
        :: sent != shown -> /* via_vq_publish */
            driver_release();
            store(AVAIL, sent);
#ifndef DRIVER_PUBLISH_FENCE
            !driver_stored;
            load_driver();
#endif
            atomic {
                if
                :: wanted(known[KICK_ME], shown, sent) -> kicked = true
                :: else
                fi;
                shown = sent
            }
        :: else
        fi;
        if
        :: idle && sent > back -> /* via_vq_arm, and to sleep */
            store(CALL_ME, wish_at(back));
#ifndef DRIVER_ARM_FENCE
            !driver_stored;
            load_driver();
#endif
            if
#ifndef DRIVER_ARM_LOOK /* what came before we asked is not going to be told of */
            :: known[DONE] != back
            :: known[DONE] == back -> atomic { called -> called = false }; store(CALL_ME, wish_none(back))
#else
            :: true -> atomic { called -> called = false }; store(CALL_ME, wish_none(back))
#endif
            fi
        :: else
        fi
    od
}

/* ------------------------------------------------------------------ the device */

active proctype device()
{
    byte popped, shown, seen;
    do
    :: seen = known[AVAIL];
        if
        :: seen != popped ->
            device_acquire();
            do
            :: atomic { popped != seen && read_data[slot(popped + 1)] == 0 ->
                descriptor_is_there = known[DESC + slot(popped + 1)] == popped + 1;
                assert(descriptor_is_there);
                popped++;
                read_data[slot(popped)] = popped;
                store(ANSWER + slot(popped), popped);
                store(USED + slot(popped), popped)
            }
            :: popped != shown -> break
            od;
            device_release(); /* via_dq_publish */
            store(DONE, popped);
#ifndef DEVICE_PUBLISH_FENCE
            !device_stored;
            load_device();
#endif
            atomic {
                if
                :: wanted(known[CALL_ME], shown, popped) -> called = true
                :: else
                fi;
                shown = popped
            }
        :: else -> /* via_dq_arm, and to sleep */
            store(KICK_ME, wish_at(popped));
#ifndef DEVICE_ARM_FENCE
            !device_stored;
            load_device();
#endif
            if
#ifndef DEVICE_ARM_LOOK
            :: known[AVAIL] != popped
            :: known[AVAIL] == popped ->
end_idle:       atomic { kicked -> kicked = false }; store(KICK_ME, wish_none(popped))
#else
            :: true ->
end_asleep:     atomic { kicked -> kicked = false }; store(KICK_ME, wish_none(popped))
#endif
            fi
        fi
    od
}

/* ------------------------------------------------------------------ when nothing more can happen */

active proctype judge()
{
    timeout -> assert(back == REQUESTS) /* no notification was lost */
}
