/* quality-painted MODEL PAINTINGS PHOTOS UNSEEN [STRENGTH STRUCTURE [STEPS [OUT]]]: does a style turn a photograph into
 * something that looks painted?  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The judge is a logistic regression that has never seen the model nor any picture that the model was trained on.  It
 * is trained on the folders PAINTINGS and PHOTOS; how far it is to be trusted is measured by leaving out a fifth of
 * them at a time.  It looks at texture only (how gradients are distributed, over four octaves): brightness, contrast
 * and hue, in which paintings of museums differ from photographs too, do not enter.  Then each picture of the folder
 * UNSEEN, which is in neither of the others, is regenerated and judged, as it was and as it is.  Structure is held to
 * be kept when the low frequencies of both agree.
 */
#include "photo.h"

#include "process/process.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATCH        96 /* edge of what is judged at once */
#define PATCHES_MOST 24 /* per picture and scale */
#define OCTAVES      4
#define PER_OCTAVE   6
#define FEATURES     (OCTAVES * PER_OCTAVE + 1) /* the last is 1 */
#define LOW_PASS     4.0                        /* pixels */
#define FOLDS        5
#define ROUNDS       12
#define RIDGE        1e-2
#define TINY         1e-9

typedef struct
{
  double values[FEATURES];
} Patch;

/* All patches of a picture. */
typedef struct
{
  char    *name;
  GArray  *patches; /* of Patch */
  gboolean painting;
} Example;

typedef struct
{
  double mean[FEATURES], scale[FEATURES], weights[FEATURES];
} Judge;

static void
example_free (gpointer data)
{
  Example *example = data;

  g_free (example->name);
  g_array_unref (example->patches);
  g_free (example);
}

/* ---- features ---- */

/* Luma and two colour differences of a square, planes of edge x edge. */
typedef struct
{
  int   edge;
  float planes[3][PATCH * PATCH];
} Planes;

static void
halve (Planes *p)
{
  int half = p->edge / 2;

  for (int c = 0; c < 3; c++)
    for (int y = 0; y < half; y++)
      for (int x = 0; x < half; x++)
        {
          const float *from = p->planes[c] + 2 * y * p->edge + 2 * x;

          p->planes[c][y * half + x] = (from[0] + from[1] + from[p->edge] + from[p->edge + 1]) / 4;
        }
  p->edge = half;
}

/* What one octave's gradients are like: `energy` of luma comes back for the ratio to the next octave's. */
static void
describe_octave (const Planes *p, double *features, double *energy)
{
  int    n = p->edge, count = (n - 1) * (n - 1), flat = 0, windows = 0;
  double square[3] = { 0 }, absolute = 0, together = 0, coherence = 0, rms;

  for (int c = 0; c < 3; c++)
    for (int y = 0; y < n - 1; y++)
      for (int x = 0; x < n - 1; x++)
        {
          const float *at = p->planes[c] + y * n + x;
          double       gx = (double) (at[1] - at[0]), gy = (double) (at[n] - at[0]), magnitude = hypot (gx, gy);

          square[c] += magnitude * magnitude;
          absolute += c ? 0 : magnitude;
          together += c == 1 ? magnitude
                                   * hypot ((double) (p->planes[0][y * n + x + 1] - p->planes[0][y * n + x]),
                                            (double) (p->planes[0][y * n + x + n] - p->planes[0][y * n + x]))
                             : 0;
        }
  rms = sqrt (square[0] / count) + TINY;
  /* Windows of 5 x 5: one direction (a stroke, an edge) or none (noise, leaves)? */
  for (int y = 0; y + 5 < n; y += 3)
    for (int x = 0; x + 5 < n; x += 3)
      {
        double xx = 0, xy = 0, yy = 0;

        for (int i = 0; i < 25; i++)
          {
            const float *at = p->planes[0] + (y + i / 5) * n + x + i % 5;
            double       gx = (double) (at[1] - at[0]), gy = (double) (at[n] - at[0]);

            xx += gx * gx;
            xy += gx * gy;
            yy += gy * gy;
          }
        coherence += hypot (xx - yy, 2 * xy) / (xx + yy + TINY);
        flat += sqrt ((xx + yy) / 25) < 0.3 * rms;
        windows++;
      }
  features[0] = log (rms * rms / (*energy + TINY));  /* how the spectrum falls */
  features[1] = log (absolute / count / rms + TINY); /* few strong edges, or many weak ones */
  features[2] = coherence / windows;
  features[3] = (double) flat / windows;
  features[4] = log (sqrt ((square[1] + square[2]) / count) / rms + TINY); /* how much of it is colour */
  features[5] = together / sqrt (square[0] * square[1] + TINY * TINY);     /* and whether at the same places */
  *energy = rms * rms;
}

static void
describe_patch (const DiffusionPicture *picture, int x0, int y0, Patch *patch)
{
  static Planes planes;
  double        energy = 1;

  planes.edge = PATCH;
  for (int y = 0; y < PATCH; y++)
    for (int x = 0; x < PATCH; x++)
      {
        const float *at = picture->data + ((gsize) (y0 + y) * (gsize) picture->width + (gsize) (x0 + x)) * 3;
        float        r = CLAMP (at[0], 0.0f, 1.0f), g = CLAMP (at[1], 0.0f, 1.0f), b = CLAMP (at[2], 0.0f, 1.0f);

        planes.planes[0][y * PATCH + x] = (r + g + b) / 3;
        planes.planes[1][y * PATCH + x] = (r - b) / 2;
        planes.planes[2][y * PATCH + x] = (r - 2 * g + b) / 4;
      }
  for (int octave = 0; octave < OCTAVES; octave++)
    {
      if (octave)
        halve (&planes);
      describe_octave (&planes, patch->values + octave * PER_OCTAVE, &energy);
    }
  patch->values[0] = 0; /* the first octave's ratio is to nothing: it would be contrast */
  patch->values[FEATURES - 1] = 1;
}

/* Patches spread evenly over a picture. */
static void
add_patches (const DiffusionPicture *picture, GArray *patches)
{
  int columns = picture->width / PATCH, rows = picture->height / PATCH;
  int step = MAX (1, (columns * rows + PATCHES_MOST - 1) / PATCHES_MOST);

  for (int i = step / 2; i < columns * rows; i += step)
    {
      Patch patch;

      describe_patch (picture, i % columns * PATCH, i / columns * PATCH, &patch);
      g_array_append_val (patches, patch);
    }
}

static DiffusionPicture *
halve_picture (const DiffusionPicture *picture)
{
  DiffusionPicture *half = diffusion_picture_new (picture->width / 2, picture->height / 2, 3, NULL);

  for (int y = 0; y < half->height; y++)
    for (int x = 0; x < half->width * 3; x++)
      {
        const float *at = picture->data + (gsize) y * 2 * (gsize) picture->width * 3 + x / 3 * 6 + x % 3;

        half->data[y * half->width * 3 + x] = (at[0] + at[3] + at[picture->width * 3] + at[picture->width * 3 + 3]) / 4;
      }
  return half;
}

/* At its own scale and at half of it. */
static GArray *
describe (const DiffusionPicture *picture)
{
  GArray *patches = g_array_new (FALSE, FALSE, sizeof (Patch));
  g_autoptr (DiffusionPicture) half = halve_picture (picture);

  add_patches (picture, patches);
  add_patches (half, patches);
  return patches;
}

/* ---- the judge ---- */

static double
weigh (const Judge *judge, const Patch *patch)
{
  double sum = 0;

  for (int i = 0; i < FEATURES; i++)
    sum += judge->weights[i] * (patch->values[i] - judge->mean[i]) * judge->scale[i];
  return sum;
}

/* The log odds that a picture is a painting: the mean over its patches. */
static double
judge_patches (const Judge *judge, const GArray *patches)
{
  double sum = 0;

  for (guint i = 0; i < patches->len; i++)
    sum += weigh (judge, &g_array_index (patches, Patch, i));
  return sum / MAX (patches->len, 1);
}

/* Solves a x = b, a symmetric and positive: Gauss without pivots. */
static void
solve (double a[FEATURES][FEATURES], double *b)
{
  for (int k = 0; k < FEATURES; k++)
    for (int i = k + 1; i < FEATURES; i++)
      {
        double factor = a[i][k] / a[k][k];

        for (int j = k; j < FEATURES; j++)
          a[i][j] -= factor * a[k][j];
        b[i] -= factor * b[k];
      }
  for (int k = FEATURES - 1; k >= 0; k--)
    {
      for (int j = k + 1; j < FEATURES; j++)
        b[k] -= a[k][j] * b[j];
      b[k] /= a[k][k];
    }
}

static gboolean
is_left_out (const GPtrArray *examples, guint i, int fold)
{
  return fold >= 0 && (int) (i % FOLDS) == fold;
}

/* Mean and standard deviation of each feature become 0 and 1. */
static void
standardize (Judge *judge, const GPtrArray *examples, int fold)
{
  double sum[FEATURES] = { 0 }, square[FEATURES] = { 0 }, count = 0;

  for (guint e = 0; e < examples->len; e++)
    {
      const GArray *patches = ((Example *) examples->pdata[e])->patches;

      for (guint p = 0; p < patches->len && ! is_left_out (examples, e, fold); p++, count++)
        for (int i = 0; i < FEATURES; i++)
          {
            double value = g_array_index (patches, Patch, p).values[i];

            sum[i] += value;
            square[i] += value * value;
          }
    }
  for (int i = 0; i < FEATURES; i++)
    {
      double mean = sum[i] / count, variance = square[i] / count - mean * mean;

      judge->mean[i] = i == FEATURES - 1 ? 0 : mean;
      judge->scale[i] = i == FEATURES - 1 ? 1 : variance > TINY ? 1 / sqrt (variance) : 0;
      judge->weights[i] = 0;
    }
}

/* Newton's method on the regularized likelihood; both kinds count alike, and so do all pictures of a kind.  fold: which
 * fifth of the examples is left out, -1: none. */
static void
train (Judge *judge, const GPtrArray *examples, int fold)
{
  int kinds[2] = { 0, 0 };

  for (guint e = 0; e < examples->len; e++)
    kinds[((Example *) examples->pdata[e])->painting] += ! is_left_out (examples, e, fold);
  standardize (judge, examples, fold);
  for (int round = 0; round < ROUNDS; round++)
    {
      static double hessian[FEATURES][FEATURES];
      double        gradient[FEATURES];

      memset (hessian, 0, sizeof hessian);
      for (int i = 0; i < FEATURES; i++)
        {
          gradient[i] = -RIDGE * judge->weights[i];
          hessian[i][i] = RIDGE;
        }
      for (guint e = 0; e < examples->len; e++)
        {
          const Example *example = examples->pdata[e];

          for (guint p = 0; p < example->patches->len && ! is_left_out (examples, e, fold); p++)
            {
              const Patch *patch = &g_array_index (example->patches, Patch, p);
              double       share = 0.5 / kinds[example->painting] / example->patches->len;
              double       probability = 1 / (1 + exp (-weigh (judge, patch))), x[FEATURES];

              for (int i = 0; i < FEATURES; i++)
                x[i] = (patch->values[i] - judge->mean[i]) * judge->scale[i];
              for (int i = 0; i < FEATURES; i++)
                {
                  gradient[i] += share * (example->painting - probability) * x[i];
                  for (int j = 0; j < FEATURES; j++)
                    hessian[i][j] += share * probability * (1 - probability) * x[i] * x[j];
                }
            }
        }
      solve (hessian, gradient);
      for (int i = 0; i < FEATURES; i++)
        judge->weights[i] += gradient[i];
    }
}

/* ---- files ---- */

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

static GPtrArray *
list_folder (const char *folder)
{
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    if (g_regex_match_simple ("\\.(jpe?g|p[np]m|png|tiff?|webp)$", name, G_REGEX_CASELESS, 0))
      g_ptr_array_add (paths, g_build_filename (folder, name, NULL));
  g_ptr_array_sort (paths, compare_names);
  return paths;
}

static void
add_examples (const char *folder, gboolean painting, GPtrArray *examples)
{
  g_autoptr (GPtrArray) paths = list_folder (folder);

  for (guint i = 0; i < paths->len; i++)
    {
      g_autoptr (DiffusionPicture) picture = photo_load (paths->pdata[i]);
      Example *example;

      if (! picture || MIN (picture->width, picture->height) < 2 * PATCH)
        continue;
      example = g_new0 (Example, 1);
      example->name = g_path_get_basename (paths->pdata[i]);
      example->painting = painting;
      example->patches = describe (picture);
      g_ptr_array_add (examples, example);
    }
}

static int
compare_values (gconstpointer a, gconstpointer b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

/* What a judge who has not seen them says of the examples of one kind, in rising order. */
static GArray *
get_blind_scores (const GPtrArray *examples, gboolean painting)
{
  GArray *scores = g_array_new (FALSE, FALSE, sizeof (double));

  for (int fold = 0; fold < FOLDS; fold++)
    {
      Judge judge;

      train (&judge, examples, fold);
      for (guint i = 0; i < examples->len; i++)
        {
          const Example *example = examples->pdata[i];
          double         score = judge_patches (&judge, example->patches);

          if (is_left_out (examples, i, fold) && example->painting == painting)
            g_array_append_val (scores, score);
        }
    }
  g_array_sort (scores, compare_values);
  return scores;
}

static double
get_share_above (const GArray *scores, double bound)
{
  guint count = 0;

  for (guint i = 0; i < scores->len; i++)
    count += g_array_index (scores, double, i) > bound;
  return (double) count / MAX (scores->len, 1);
}

/* The score from which on a picture counts as a painting: there as many paintings are mistaken for photographs as the
 * other way round. */
static double
find_bound (const GArray *paintings, const GArray *photos)
{
  for (guint i = 0; i < paintings->len; i++)
    {
      double bound = g_array_index (paintings, double, i);

      if (1 - get_share_above (paintings, bound) >= get_share_above (photos, bound))
        return bound;
    }
  return 0;
}

/* ---- the measure ---- */

typedef struct
{
  double      strength, structure;
  int         steps;
  const char *out;
} Settings;

static double
get_structure (const DiffusionPicture *a, const DiffusionPicture *b)
{
  g_autoptr (DiffusionPicture) low_a = diffusion_picture_copy (a, NULL), low_b = diffusion_picture_copy (b, NULL);

  process_blur (low_a, LOW_PASS, NULL, NULL, NULL);
  process_blur (low_b, LOW_PASS, NULL, NULL, NULL);
  return photo_get_psnr (low_a, low_b);
}

static gboolean
measure (const DiffusionModel *model, const Judge *judge, const char *path, const Settings *settings, double bound,
         double *before, double *after, double *structure, GError **error)
{
  g_autoptr (DiffusionPicture) photo = photo_load (path);
  g_autoptr (DiffusionPicture) picture = photo ? diffusion_picture_copy (photo, error) : NULL;
  g_autoptr (GArray) old = NULL, new = NULL;
  g_autofree char *name = g_path_get_basename (path), *to = NULL;
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;

  options.steps = settings->steps;
  options.sampler = DIFFUSION_SAMPLER_DDPM;
  if (! picture
      || ! diffusion_regenerate (model, picture, NULL, settings->strength, settings->structure, &options, NULL, error))
    return FALSE;
  old = describe (photo);
  new = describe (picture);
  *before = judge_patches (judge, old) - bound;
  *after = judge_patches (judge, new) - bound;
  *structure = get_structure (photo, picture);
  if (settings->out)
    {
      g_autofree char *file = g_strconcat (name, ".png", NULL);

      to = g_build_filename (settings->out, file, NULL);
      photo_save (picture, to);
    }
  printf ("%-24s %+8.2f %+8.2f %8.2f\n", name, *before, *after, *structure);
  fflush (stdout);
  return TRUE;
}

static gboolean
measure_all (const DiffusionModel *model, const GPtrArray *examples, const char *folder, const Settings *settings,
             GError **error)
{
  g_autoptr (GPtrArray) paths = list_folder (folder);
  g_autoptr (GArray) painting_scores = get_blind_scores (examples, TRUE),
                     photo_scores = get_blind_scores (examples, FALSE);
  double bound = find_bound (painting_scores, photo_scores);
  Judge  judge;
  int    painted = 0, painted_before = 0, rose = 0;
  double least = INFINITY, sum = 0;

  printf (
      "judge: tells %.0f %% of the %u paintings and %.0f %% of the %u photographs right that it was not trained on\n",
      100 * get_share_above (painting_scores, bound), painting_scores->len,
      100 - 100 * get_share_above (photo_scores, bound), photo_scores->len);
  train (&judge, examples, -1);
  printf ("%-24s %8s %8s %8s\n", "", "before", "after", "structure");
  for (guint i = 0; i < paths->len; i++)
    {
      double before, after, structure;

      if (! measure (model, &judge, paths->pdata[i], settings, bound, &before, &after, &structure, error))
        return FALSE;
      painted += after > 0;
      painted_before += before > 0;
      rose += after > before;
      least = fmin (least, structure);
      sum += structure;
    }
  printf (
      "taken for paintings: %d of %u, before %d; more like paintings than before: %d; structure %.2f dB on the mean, "
      "%.2f at least\n",
      painted, paths->len, painted_before, rose, sum / MAX (paths->len, 1), least);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (GPtrArray) examples = g_ptr_array_new_with_free_func (example_free);
  Settings settings = { 0.5, 1, 20, NULL };
  gboolean success = FALSE;

  if (argc < 5 || argc > 9 || argc == 6)
    {
      fprintf (stderr, "Usage: quality-painted MODEL PAINTINGS PHOTOS UNSEEN [STRENGTH STRUCTURE [STEPS [OUT]]]\n");
      return EXIT_FAILURE;
    }
  if (argc > 6)
    {
      settings.strength = g_ascii_strtod (argv[5], NULL);
      settings.structure = g_ascii_strtod (argv[6], NULL);
    }
  if (argc > 7)
    settings.steps = (int) g_ascii_strtoll (argv[7], NULL, 10);
  settings.out = argc > 8 ? argv[8] : NULL;
  model = diffusion_model_load (argv[1], &error);
  if (model)
    {
      photo_begin ();
      add_examples (argv[2], TRUE, examples);
      add_examples (argv[3], FALSE, examples);
      success = measure_all (model, examples, argv[4], &settings, &error);
      photo_end ();
    }
  if (! success)
    fprintf (stderr, "%s\n", error ? error->message : "A picture could not be read.");
  return success ? EXIT_SUCCESS : EXIT_FAILURE;
}
