/* Texture from the surroundings.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Targets are patches that touch the hole, sources those that do not.  Each target knows its match, a source.  A search
 * tries its neighbours' matches and random places around its own (PatchMatch); a vote then makes each hole pixel what
 * the matches of all patches over it say.  Rows are split into bands of a fixed height that read each other's matches
 * as they were before the search, so that results do not depend on threads.
 */
#include "exemplar.h"
#include "compute/vector.h"

#define HALF     3
#define SIDE     (2 * HALF + 1)
#define CHANNELS 4 /* R', G', B' and roughness */
#define BAND     16
/* A pixel's say falls with its depth in the hole: Wexler et al. 2007, section 3.3. */
#define CONFIDENCE_FALL 1.3f
#define CONFIDENCE_MIN  0.02f
/* Roughness tells textures of one colour apart where a patch is too small to. */
#define ROUGHNESS_WEIGHT 8.0f
#define FIRST_SEARCHES   8
/* Width of the ring of known pixels that a fill is joined to. */
#define JOIN 2
/* How a fill is blended: how strongly a pixel is drawn to what it was (steps between patches are spread over
 * 1 / sqrt (BLEND_PULL) pixels), and successive overrelaxation. */
#define BLEND_PULL 0.003f
#define SWEEPS     40
#define OVERRELAX  1.7f
#define FAR        1e30f

/* NAN, which this file's compiler options do not let it write or ask for. */
static const union
{
  guint32 bits;
  float   value;
} unknown = { 0x7fc00000u };
#define UNKNOWN unknown.value

struct _Exemplar
{
  int     width, height;
  float  *pixels;   /* CHANNELS each */
  float  *weight;   /* CHANNELS each, all the same: for how much the pixel counts in a distance */
  guint8 *hole;     /* per pixel */
  guint8 *target;   /* per pixel, as a patch's centre */
  guint8 *source;   /* likewise */
  gint32 *match;    /* a source's place for each target */
  gint32 *before;   /* the matches before a search */
  float  *distance; /* of each target to its match */
  gint32 *sources;  /* places of all sources */
  int     n_sources;
  int     first_row, end_row; /* rows with targets */
  float  *votes;              /* CHANNELS each */

  GCancellable *cancellable;
};

void
exemplar_free (Exemplar *e)
{
  if (! e)
    return;
  core_free (e->pixels);
  core_free (e->weight);
  core_free (e->hole);
  core_free (e->target);
  core_free (e->source);
  core_free (e->match);
  core_free (e->before);
  core_free (e->distance);
  core_free (e->sources);
  core_free (e->votes);
  g_free (e);
}

/* ---- the level ---- */

/* Marks centres: sources, whose patches have no hole pixel, and targets, the others.  A patch lies within the picture.
 */
static void
mark_patches (Exemplar *e)
{
  e->first_row = e->height;
  for (int y = HALF; y < e->height - HALF; y++)
    for (int x = HALF; x < e->width - HALF; x++)
      {
        int    holes = 0;
        gint32 at = y * e->width + x;

        for (int v = -HALF; v <= HALF; v++)
          for (int u = -HALF; u <= HALF; u++)
            holes += e->hole[at + v * e->width + u];
        e->source[at] = holes == 0;
        e->target[at] = holes > 0;
        if (holes == 0)
          e->sources[e->n_sources++] = at;
        else
          {
            e->first_row = MIN (e->first_row, y);
            e->end_row = y + 1;
          }
      }
}

/* Weights by depth: the distance to the nearest known pixel, in rings. */
static void
set_weights (Exemplar *e)
{
  gsize count = (gsize) e->width * (gsize) e->height;
  float weight = 1;

  for (gsize i = 0; i < count; i++)
    e->distance[i] = e->hole[i] ? 0 : 1;
  for (gboolean more = TRUE; more && weight > CONFIDENCE_MIN;)
    {
      more = FALSE;
      weight /= CONFIDENCE_FALL;
      for (int y = 0; y < e->height; y++)
        for (int x = 0; x < e->width; x++)
          {
            gsize    i = (gsize) y * (gsize) e->width + (gsize) x;
            gboolean near = (x > 0 && e->distance[i - 1] > weight) || (x + 1 < e->width && e->distance[i + 1] > weight)
                            || (y > 0 && e->distance[i - (gsize) e->width] > weight)
                            || (y + 1 < e->height && e->distance[i + (gsize) e->width] > weight);

            if (e->distance[i] == 0 && near)
              {
                e->distance[i] = weight;
                more = TRUE;
              }
          }
    }
  for (gsize i = 0; i < count; i++)
    for (gsize c = 0; c < CHANNELS; c++)
      e->weight[i * CHANNELS + c] = MAX (e->distance[i], CONFIDENCE_MIN) * (c == 3 ? ROUGHNESS_WEIGHT : 1);
}

void
exemplar_set (Exemplar *e, const DiffusionPicture *picture, const DiffusionPicture *roughness)
{
  gsize count = (gsize) e->width * (gsize) e->height;

  for (gsize i = 0; i < count; i++)
    {
      for (gsize c = 0; c < 3; c++)
        e->pixels[i * CHANNELS + c] = picture->data[i * 3 + c];
      e->pixels[i * CHANNELS + 3] = roughness->data[i];
    }
}

Exemplar *
exemplar_new (const DiffusionPicture *picture, const DiffusionPicture *roughness, const DiffusionPicture *hole,
              GCancellable *cancellable, GError **error)
{
  g_autoptr (Exemplar) e = g_new0 (Exemplar, 1);
  gsize count = (gsize) picture->width * (gsize) picture->height;

  e->width = picture->width;
  e->height = picture->height;
  e->cancellable = cancellable;
  if (! (e->pixels = core_alloc0 (count, CHANNELS * sizeof (float), error))
      || ! (e->weight = core_alloc0 (count, CHANNELS * sizeof (float), error))
      || ! (e->votes = core_alloc0 (count, CHANNELS * sizeof (float), error))
      || ! (e->distance = core_alloc0 (count, sizeof (float), error))
      || ! (e->match = core_alloc0 (count, sizeof (gint32), error))
      || ! (e->before = core_alloc0 (count, sizeof (gint32), error))
      || ! (e->sources = core_alloc0 (count, sizeof (gint32), error)) || ! (e->hole = core_alloc0 (count, 1, error))
      || ! (e->target = core_alloc0 (count, 1, error)) || ! (e->source = core_alloc0 (count, 1, error)))
    return NULL;
  for (gsize i = 0; i < count; i++)
    e->hole[i] = hole->data[i] > 0;
  exemplar_set (e, picture, roughness);
  mark_patches (e);
  set_weights (e);
  return e->n_sources > 0 && e->end_row > 0 ? g_steal_pointer (&e) : NULL;
}

void
exemplar_get (const Exemplar *e, DiffusionPicture *picture)
{
  gsize count = (gsize) e->width * (gsize) e->height;

  for (gsize i = 0; i < count; i++)
    for (gsize c = 0; c < 3 && e->hole[i]; c++)
      picture->data[i * 3 + c] = e->pixels[i * CHANNELS + c];
}

/* ---- the search ---- */

/* The weighted square distance of two patches; not exact when above `most`. */
static inline float
patch_distance (const Exemplar *e, gint32 target, gint32 source, float most)
{
  const gsize  stride = (gsize) e->width * CHANNELS, corner = (gsize) (HALF * e->width + HALF) * CHANNELS;
  const float *a = e->pixels + (gsize) target * CHANNELS - corner;
  const float *b = e->pixels + (gsize) source * CHANNELS - corner;
  const float *w = e->weight + (gsize) target * CHANNELS - corner;
  float        sum = 0;

  for (int y = 0; y < SIDE && sum < most; y++, a += stride, b += stride, w += stride)
    {
      float row = 0;

      for (int i = 0; i < SIDE * CHANNELS; i++)
        row += w[i] * (a[i] - b[i]) * (a[i] - b[i]);
      sum += row;
    }
  return sum;
}

typedef struct
{
  Exemplar *e;
  int       search;
  guint64   seed;
  guint32   stream;
  double    sharpness;
  float     scale; /* of distances, for votes */
} Job;

static inline void
try_source (const Exemplar *e, gint32 target, gint32 source, gint32 *best, float *least)
{
  float distance;

  if (source == *best || ! e->source[source])
    return;
  distance = patch_distance (e, target, source, *least);
  if (distance < *least)
    {
      *least = distance;
      *best = source;
    }
}

/* Places around the best one, at radii that halve from the picture's size on. */
static inline void
try_around (const Job *job, gint32 target, gint32 *best, float *least)
{
  const Exemplar *e = job->e;
  guint32         words[4];
  int             used = 4;
  guint32         draw = 0;

  for (int radius = MAX (e->width, e->height); radius >= 1; radius /= 2)
    {
      int x, y, bx = *best % e->width, by = *best / e->width;

      if (used == 4)
        {
          const guint32 counter[4] = { (guint32) target, draw++, job->stream, (guint32) job->search };

          random_philox (job->seed, counter, words);
          used = 0;
        }
      x = bx - radius + (int) (((words[used] & 0xffffu) * (guint32) (2 * radius + 1)) >> 16);
      y = by - radius + (int) (((words[used] >> 16) * (guint32) (2 * radius + 1)) >> 16);
      used++;
      if (x >= HALF && y >= HALF && x < e->width - HALF && y < e->height - HALF)
        try_source (e, target, y * e->width + x, best, least);
    }
}

/* A neighbour's match, one pixel on. */
static inline void
try_neighbour (const Job *job, gint32 target, int step, const gint32 *matches, gint32 *best, float *least)
{
  const Exemplar *e = job->e;
  gint32          match;

  if (! e->target[target + step])
    return;
  match = matches[target + step] - step;
  if (match >= 0 && match < e->width * e->height)
    try_source (e, target, match, best, least);
}

/* One scan over a band of targets, forwards and backwards in turns. */
MULTIVERSION static void
search_band (int task, int thread, gpointer data)
{
  const Job *job = data;
  Exemplar  *e = job->e;
  int        first = e->first_row + task * BAND, end = MIN (first + BAND, e->end_row);
  int        direction = job->search % 2 ? -1 : 1;

  for (int i = 0; i < end - first && ! g_cancellable_is_cancelled (e->cancellable); i++)
    for (int j = HALF; j < e->width - HALF; j++)
      {
        int    y = direction > 0 ? first + i : end - 1 - i, x = direction > 0 ? j : e->width - 1 - j;
        gint32 at = y * e->width + x, best;
        int    up = y - direction;
        float  least;

        if (! e->target[at])
          continue;
        best = e->match[at];
        /* Pixels change between votes only: what the search before has found still holds. */
        least = job->search > 0 ? e->distance[at] : patch_distance (e, at, best, FAR);
        try_neighbour (job, at, -direction, e->match, &best, &least);
        try_neighbour (job, at, -direction * e->width, up >= first && up < end ? e->match : e->before, &best, &least);
        try_neighbour (job, at, direction, e->before, &best, &least);
        try_neighbour (job, at, direction * e->width, e->before, &best, &least);
        try_around (job, at, &best, &least);
        e->match[at] = best;
        e->distance[at] = least;
      }
}

static void
search (Exemplar *e, int searches, guint64 seed, guint32 stream, Pool *pool)
{
  gsize bytes = (gsize) e->width * (gsize) e->height * sizeof (gint32);
  Job   job = { .e = e, .seed = seed, .stream = stream };

  for (job.search = 0; job.search < searches; job.search++)
    {
      memcpy (e->before, e->match, bytes);
      pool_run (pool, (e->end_row - e->first_row + BAND - 1) / BAND, search_band, &job);
    }
}

/* ---- the vote ---- */

/* How far a target is from its match, for its pixel (dx, dy): the centre of a patch fits better than its rim. */
static inline float
rim_distance (const Exemplar *e, gint32 target, int dx, int dy)
{
  return e->distance[target] * (1 + 0.1f * (float) (dx * dx + dy * dy));
}

/* What the patches over one pixel say about it. */
static inline void
vote_pixel (const Job *job, int x, int y, float *value)
{
  const Exemplar *e = job->e;
  float           sum[CHANNELS] = { 0 }, total = 0, least = FAR, best[CHANNELS] = { 0 };
  float           sharp = (float) job->sharpness;

  for (int v = MAX (y - HALF, HALF); v <= MIN (y + HALF, e->height - 1 - HALF); v++)
    for (int u = MAX (x - HALF, HALF); u <= MIN (x + HALF, e->width - 1 - HALF); u++)
      {
        gint32       at = v * e->width + u, off = (y - v) * e->width + x - u;
        const float *from;
        float        say, distance;

        if (! e->target[at])
          continue;
        from = e->pixels + (gsize) (e->match[at] + off) * CHANNELS;
        say = fast_exp (-e->distance[at] * job->scale) + 1e-6f;
        for (int c = 0; c < CHANNELS; c++)
          sum[c] += say * from[c];
        total += say;
        distance = rim_distance (e, at, x - u, y - v);
        if (distance < least)
          {
            least = distance;
            memcpy (best, from, sizeof best);
          }
      }
  for (int c = 0; c < CHANNELS && total > 0; c++)
    value[c] = sum[c] / total * (1 - sharp) + best[c] * sharp;
}

MULTIVERSION static void
vote_band (int task, int thread, gpointer data)
{
  const Job *job = data;
  Exemplar  *e = job->e;

  for (int y = task * BAND; y < MIN ((task + 1) * BAND, e->height) && ! g_cancellable_is_cancelled (e->cancellable);
       y++)
    for (int x = 0; x < e->width; x++)
      {
        gsize at = (gsize) y * (gsize) e->width + (gsize) x;

        if (e->hole[at])
          vote_pixel (job, x, y, e->votes + at * CHANNELS);
      }
}

float
exemplar_find_quantile (const float *values, const guint8 *counted, gsize n, gsize numerator, gsize denominator)
{
  /* Bits of positive floats are in the floats' order: they are found digit by digit, from the highest on, and values
   * that do not begin with what is known are left out. */
  static const int first_bits[] = { 32, 21, 10, 0 };
  guint64          known = 0;
  gsize            rank = 0;
  guint32          bits;
  float            value;

  for (gsize i = 0; i < n; i++)
    rank += counted[i] != 0;
  rank = rank * numerator / denominator;
  for (gsize digit = 0; digit + 1 < G_N_ELEMENTS (first_bits); digit++)
    {
      int     above = first_bits[digit], first = first_bits[digit + 1];
      guint32 counts[2048] = { 0 }, last = (1u << (above - first)) - 1, found = 0;

      for (gsize i = 0; i < n; i++)
        {
          memcpy (&bits, &values[i], sizeof bits);
          if (counted[i] && (guint64) bits >> above == known >> above)
            counts[bits >> first & last]++;
        }
      for (; found < last && counts[found] <= rank; found++)
        rank -= counts[found];
      known |= (guint64) found << first;
    }
  bits = (guint32) known;
  memcpy (&value, &bits, sizeof value);
  return value;
}

/* The distance that three quarters of the targets do not reach: Wexler et al. 2007, section 3.2.  There may be millions
 * of them: sorting took longer than the vote itself. */
static float
usual_distance (const Exemplar *e)
{
  gsize first = (gsize) e->first_row * (gsize) e->width, end = (gsize) e->end_row * (gsize) e->width;

  return exemplar_find_quantile (e->distance + first, e->target + first, end - first, 3, 4);
}

void
exemplar_vote (Exemplar *e, double sharpness, Pool *pool)
{
  gsize count = (gsize) e->width * (gsize) e->height;
  Job   job = { .e = e, .sharpness = sharpness };

  job.scale = 1 / MAX (2 * usual_distance (e), 1e-6f);
  memcpy (e->votes, e->pixels, count * CHANNELS * sizeof (float));
  pool_run (pool, (e->height + BAND - 1) / BAND, vote_band, &job);
  for (gsize i = 0; i < count; i++)
    if (e->hole[i])
      memcpy (e->pixels + i * CHANNELS, e->votes + i * CHANNELS, CHANNELS * sizeof (float));
}

/* ---- the join ---- */

gboolean
exemplar_join (Exemplar *e, double sharpness, Pool *pool, GError **error)
{
  g_autoptr (DiffusionPicture) difference = diffusion_picture_new (e->width, e->height, 3, error);
  gsize count = (gsize) e->width * (gsize) e->height;
  Job   job = { .e = e, .sharpness = sharpness, .scale = 1 / MAX (2 * usual_distance (e), 1e-6f) };

  if (! difference)
    return FALSE;
  for (int y = 0; y < e->height; y++)
    for (int x = 0; x < e->width; x++)
      {
        gsize    at = (gsize) y * (gsize) e->width + (gsize) x;
        float    value[CHANNELS];
        gboolean near = FALSE;

        for (int v = MAX (y - JOIN, 0); v <= MIN (y + JOIN, e->height - 1); v++)
          for (int u = MAX (x - JOIN, 0); u <= MIN (x + JOIN, e->width - 1); u++)
            near = near || e->hole[v * e->width + u];
        near = near && ! e->hole[at];
        memcpy (value, e->pixels + at * CHANNELS, sizeof value);
        if (near)
          vote_pixel (&job, x, y, value);
        for (gsize c = 0; c < 3; c++)
          difference->data[at * 3 + c] = near ? e->pixels[at * CHANNELS + c] - value[c] : UNKNOWN;
      }
  if (! diffusion_fill_smooth (difference, error))
    return FALSE;
  for (gsize i = 0; i < count; i++)
    for (gsize c = 0; c < 3 && e->hole[i]; c++)
      e->pixels[i * CHANNELS + c] += difference->data[i * 3 + c];
  return TRUE;
}

/* ---- the blend ---- */

/* Where the best patch over a hole pixel takes it from; -1: there is no patch. */
static gint32
find_origin (const Exemplar *e, int x, int y)
{
  float  least = FAR;
  gint32 origin = -1;

  for (int v = MAX (y - HALF, HALF); v <= MIN (y + HALF, e->height - 1 - HALF); v++)
    for (int u = MAX (x - HALF, HALF); u <= MIN (x + HALF, e->width - 1 - HALF); u++)
      {
        gint32 at = v * e->width + u;
        float  distance;

        if (! e->target[at])
          continue;
        distance = rim_distance (e, at, x - u, y - v);
        if (distance < least)
          {
            least = distance;
            origin = e->match[at] + (y - v) * e->width + x - u;
          }
      }
  return origin;
}

/* Adds the step from `place` to its neighbour (dx, dy) in the known picture; FALSE if it is not known. */
static inline gboolean
add_step (const Exemplar *e, gint32 place, int dx, int dy, float sign, float *step)
{
  int          x = place % e->width + dx, y = place / e->width + dy;
  const float *from = e->pixels + (gsize) place * CHANNELS, *to;

  if (x < 0 || y < 0 || x >= e->width || y >= e->height || e->hole[y * e->width + x])
    return FALSE;
  to = e->pixels + ((gsize) y * (gsize) e->width + (gsize) x) * CHANNELS;
  for (int c = 0; c < 3; c++)
    step[c] += sign * (to[c] - from[c]);
  return TRUE;
}

/* The step from a hole pixel to its neighbour that the patches over both ask for. */
static void
find_step (const Exemplar *e, int x, int y, int dx, int dy, float step[3])
{
  gint32 at = y * e->width + x, next = (y + dy) * e->width + x + dx;
  int    said = 0;

  memset (step, 0, 3 * sizeof (float));
  if (e->before[at] >= 0)
    said += add_step (e, e->before[at], dx, dy, 1, step);
  if (e->hole[next] && e->before[next] >= 0)
    said += add_step (e, e->before[next], -dx, -dy, -1, step);
  for (int c = 0; c < 3; c++)
    step[c] = said ? step[c] / (float) said
                   : e->pixels[(gsize) next * CHANNELS + (gsize) c] - e->pixels[(gsize) at * CHANNELS + (gsize) c];
}

static const int neighbours[4][2] = { { 1, 0 }, { -1, 0 }, { 0, 1 }, { 0, -1 } };

static inline gboolean
is_inside (const Exemplar *e, int x, int y)
{
  return x >= 0 && y >= 0 && x < e->width && y < e->height;
}

static void
find_origins_band (int task, int thread, gpointer data)
{
  Exemplar *e = ((const Job *) data)->e;

  for (int y = task * BAND; y < MIN ((task + 1) * BAND, e->height); y++)
    for (int x = 0; x < e->width; x++)
      if (e->hole[y * e->width + x])
        e->before[y * e->width + x] = find_origin (e, x, y);
}

/* The part of each pixel's equation that does not change: what it is drawn to, less the steps to its neighbours. */
static void
set_up_band (int task, int thread, gpointer data)
{
  Exemplar *e = ((const Job *) data)->e;

  for (int y = task * BAND; y < MIN ((task + 1) * BAND, e->height); y++)
    for (int x = 0; x < e->width; x++)
      {
        gsize  at = ((gsize) y * (gsize) e->width + (gsize) x) * CHANNELS;
        float *constant = e->votes + at;

        if (! e->hole[y * e->width + x])
          continue;
        for (int c = 0; c < 3; c++)
          constant[c] = BLEND_PULL * e->pixels[at + (gsize) c];
        for (int n = 0; n < 4; n++)
          {
            float step[3];

            if (! is_inside (e, x + neighbours[n][0], y + neighbours[n][1]))
              continue;
            find_step (e, x, y, neighbours[n][0], neighbours[n][1], step);
            for (int c = 0; c < 3; c++)
              constant[c] -= step[c];
          }
      }
}

/* Half a sweep: the pixels whose coordinates' sum is odd, or even, look only at the others. */
static void
relax_band (int task, int thread, gpointer data)
{
  const Job *job = data;
  Exemplar  *e = job->e;

  for (int y = task * BAND; y < MIN ((task + 1) * BAND, e->height); y++)
    for (int x = (y + job->search) & 1; x < e->width; x += 2)
      {
        gsize  at = ((gsize) y * (gsize) e->width + (gsize) x) * CHANNELS;
        float *pixel = e->pixels + at, sum[3], weight = BLEND_PULL;

        if (! e->hole[at / CHANNELS])
          continue;
        memcpy (sum, e->votes + at, sizeof sum);
        for (int n = 0; n < 4; n++)
          {
            int u = x + neighbours[n][0], v = y + neighbours[n][1];

            if (! is_inside (e, u, v))
              continue;
            for (int c = 0; c < 3; c++)
              sum[c] += e->pixels[((gsize) v * (gsize) e->width + (gsize) u) * CHANNELS + (gsize) c];
            weight++;
          }
        for (int c = 0; c < 3; c++)
          pixel[c] += OVERRELAX * (sum[c] / weight - pixel[c]);
      }
}

void
exemplar_blend (Exemplar *e, Pool *pool)
{
  int bands = (e->height + BAND - 1) / BAND;
  Job job = { .e = e };

  pool_run (pool, bands, find_origins_band, &job);
  pool_run (pool, bands, set_up_band, &job);
  for (job.search = 0; job.search < 2 * SWEEPS && ! g_cancellable_is_cancelled (e->cancellable); job.search++)
    pool_run (pool, bands, relax_band, &job);
}

/* ---- the whole ---- */

static void
draw_matches (Exemplar *e, guint64 seed)
{
  for (gint32 i = e->first_row * e->width; i < e->end_row * e->width; i++)
    if (e->target[i])
      {
        const guint32 counter[4] = { (guint32) i, 0, 0xBE91u, 0 };
        guint32       words[4];

        random_philox (seed, counter, words);
        e->match[i] = e->sources[(guint64) words[0] * (guint64) e->n_sources >> 32];
      }
}

/* How much the hole's own pixels count, compared with usual. */
static void
scale_weights (Exemplar *e, float by)
{
  gsize count = (gsize) e->width * (gsize) e->height;

  for (gsize i = 0; i < count; i++)
    for (gsize c = 0; c < CHANNELS && e->hole[i]; c++)
      e->weight[i * CHANNELS + c] *= by;
}

void
exemplar_begin (Exemplar *e, double trust, guint64 seed, Pool *pool)
{
  draw_matches (e, seed);
  scale_weights (e, (float) trust);
  search (e, FIRST_SEARCHES, seed, 0, pool);
  exemplar_vote (e, trust < 1 ? 1 : 0, pool);
  scale_weights (e, 1 / (float) trust);
}

void
exemplar_inherit (Exemplar *e, const Exemplar *coarser, guint64 seed, Pool *pool)
{
  draw_matches (e, seed);
  for (int y = e->first_row; y < e->end_row; y++)
    for (int x = HALF; x < e->width - HALF; x++)
      {
        int cx = CLAMP (x / 2, HALF, coarser->width - 1 - HALF), cy = CLAMP (y / 2, HALF, coarser->height - 1 - HALF);
        gint32 at = y * e->width + x, match;

        if (! e->target[at])
          continue;
        /* Targets reach less far on the finer level, but nearly always lie over one of the coarser. */
        match = coarser->target[cy * coarser->width + cx] ? coarser->match[cy * coarser->width + cx] : -1;
        if (match < 0)
          continue;
        match = (match / coarser->width + y / 2 - cy) * 2 * e->width + y % 2 * e->width
                + (match % coarser->width + x / 2 - cx) * 2 + x % 2;
        if (match >= 0 && match < e->width * e->height && e->source[match])
          e->match[at] = match;
      }
  for (gint32 i = e->first_row * e->width; i < e->end_row * e->width; i++)
    if (e->target[i])
      e->distance[i] = patch_distance (e, i, e->match[i], FAR);
  exemplar_vote (e, 0.5, pool);
}

void
exemplar_improve (Exemplar *e, int turn, int searches, double sharpness, guint64 seed, Pool *pool)
{
  search (e, searches, seed, (guint32) turn + 1, pool);
  exemplar_vote (e, sharpness, pool);
}
