/* Memory that runs out, at each place where the engine asks for it.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The linker gives this program's engine another aligned_alloc () and free () (--wrap): the n-th request fails, for
 * each n until none does.  Whatever fails, the call says so, and gives back all that it took.
 */
#include "net/sd/prompt.h"
#include "net/sd/run.h"
#include "values.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

/* ---- the memory that the engine sees ---- */

static GMutex      lock;
static GHashTable *live;     /* pointers that have not been freed */
static gint64      requests; /* so far */
static gint64      failing;  /* this request, counted from 0, fails; -1: none */
static gsize       largest;  /* request */

void *__real_aligned_alloc (size_t alignment, size_t size);
void  __real_free (void *memory);
void *__wrap_aligned_alloc (size_t alignment, size_t size);
void  __wrap_free (void *memory);

void *
__wrap_aligned_alloc (size_t alignment, size_t size)
{
  void *memory = NULL;

  g_mutex_lock (&lock);
  if (! live)
    live = g_hash_table_new (NULL, NULL);
  largest = MAX (largest, size);
  if (requests++ != failing)
    memory = __real_aligned_alloc (alignment, size);
  if (memory)
    g_hash_table_add (live, memory);
  g_mutex_unlock (&lock);
  return memory;
}

void
__wrap_free (void *memory)
{
  g_mutex_lock (&lock);
  if (live && memory)
    g_hash_table_remove (live, memory);
  g_mutex_unlock (&lock);
  __real_free (memory);
}

/* ---- what is done with it ---- */

static const DiffusionArchitecture small = { 2, { 8, 16 }, { 1, 1 } };

static char *folder, *model_path, *out_path, *corpus_path;

#define WIDTH  60
#define HEIGHT 44

static DiffusionPicture *
make_picture (GError **error)
{
  DiffusionPicture *picture = diffusion_picture_new (WIDTH, HEIGHT, 3, error);

  for (int i = 0; picture && i < WIDTH * HEIGHT * 3; i++)
    picture->data[i] = 0.5f + 0.3f * sinf ((float) i * 0.01f) + 0.05f * sinf ((float) (i * i % 1000));
  return picture;
}

static DiffusionPicture *
make_mask (GError **error)
{
  DiffusionPicture *mask = diffusion_picture_new (WIDTH, HEIGHT, 1, error);

  for (int y = 20; mask && y < 32; y++)
    for (int x = 24; x < 40; x++)
      mask->data[y * WIDTH + x] = 1;
  return mask;
}

typedef struct
{
  DiffusionModel   *model;
  DiffusionPicture *picture, *mask;
  DiffusionNoise    noise;
  DiffusionOptions  options;
} Scene;

static gboolean
scene_open (Scene *scene, GError **error)
{
  *scene = (Scene){ .options = DIFFUSION_OPTIONS_INIT };
  scene->options.threads = 2;
  diffusion_noise_set_uniform (&scene->noise, 0.1);
  return (scene->model = diffusion_model_load (model_path, error)) && (scene->picture = make_picture (error))
         && (scene->mask = make_mask (error));
}

static void
scene_close (Scene *scene)
{
  diffusion_model_unref (scene->model);
  diffusion_picture_free (scene->picture);
  diffusion_picture_free (scene->mask);
}

static gboolean
run_pictures (Scene *scene, GError **error)
{
  g_autoptr (DiffusionPicture) copy = diffusion_picture_copy (scene->picture, error);

  return copy != NULL;
}

static gboolean
run_model (Scene *scene, GError **error)
{
  g_autoptr (DiffusionModel) model = diffusion_model_new (&small, 1, error);

  return model && diffusion_model_save (model, out_path, error);
}

static gboolean
run_estimate (Scene *scene, GError **error)
{
  return diffusion_estimate_noise (scene->picture, scene->mask, &scene->noise, error);
}

static gboolean
run_forward (Scene *scene, GError **error)
{
  return diffusion_forward (scene->picture, scene->mask, 0, 1, 1, 0, 0, 0, error);
}

static gboolean
run_reverse (Scene *scene, GError **error)
{
  return diffusion_reverse (scene->model, scene->picture, scene->mask, &scene->options, NULL, error);
}

static gboolean
run_denoise (Scene *scene, GError **error)
{
  return diffusion_denoise (scene->model, scene->picture, scene->mask, &scene->noise, 1, &scene->options, NULL, error);
}

static void
look_on (const DiffusionStep *step, gpointer data)
{
}

/* Several steps, in tiles, watched, with a further call. */
static gboolean
run_denoise_more (Scene *scene, GError **error)
{
  scene->options.steps = 3;
  scene->options.tile = 32;
  scene->options.on_step = look_on;
  return diffusion_denoise (scene->model, scene->picture, NULL, &scene->noise, 1.5, &scene->options, NULL, error);
}

static gboolean
run_blend (Scene *scene, GError **error)
{
  return diffusion_denoise_blend (scene->picture, scene->picture, 0.5, 0, 1, scene->picture, error);
}

static gboolean
run_generate (Scene *scene, GError **error)
{
  scene->options.steps = 2;
  return diffusion_generate (scene->model, scene->picture, &scene->options, NULL, error);
}

static gboolean
run_fill (Scene *scene, GError **error)
{
  for (int i = 0; i < WIDTH * HEIGHT; i++)
    if (scene->mask->data[i] > 0)
      scene->picture->data[3 * i] = NAN;
  return diffusion_fill_smooth (scene->picture, error);
}

static gboolean
run_inpaint (Scene *scene, GError **error)
{
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionBox            changed, seen;

  scene->options.steps = 2;
  scene->options.sampler = DIFFUSION_INPAINT_SAMPLER;
  return diffusion_inpaint_get_boxes (scene->mask, &inpaint, NULL, &changed, &seen, NULL, error)
         && diffusion_inpaint (scene->model, scene->picture, scene->mask, &inpaint, &scene->options, NULL, error);
}

static gboolean
run_regenerate (Scene *scene, GError **error)
{
  scene->options.steps = 2;
  scene->options.sampler = DIFFUSION_REGENERATE_SAMPLER;
  return diffusion_regenerate (scene->model, scene->picture, scene->mask, 0.5, 0.5, &scene->options, NULL, error);
}

/* From a model, then on from the checkpoint. */
static gboolean
run_train (Scene *scene, GError **error)
{
  DiffusionTrainOptions options = DIFFUSION_TRAIN_OPTIONS_INIT;
  g_autofree char      *checkpoint = g_strconcat (out_path, ".checkpoint", NULL);
  gboolean              success;

  options.corpus = corpus_path;
  options.out = out_path;
  options.from = model_path;
  options.architecture = small;
  options.samples = 4;
  options.batch = 2;
  options.crop = 16;
  options.threads = 2;
  success = diffusion_train (&options, NULL, error);
  options.samples = 8;
  options.from = NULL;
  options.resume = TRUE;
  success = success && diffusion_train (&options, NULL, error);
  g_unlink (checkpoint);
  return success;
}

static gboolean
run_vocabulary (Scene *scene, GError **error)
{
  g_autofree char *path = g_build_filename (g_getenv ("DIFFUSION_MODELS"), "clip-vocabulary.txt.gz", NULL);
  g_autoptr (Tokenizer) tokenizer = tokenizer_new (path, error);

  return tokenizer != NULL;
}

/* A layer of a checkpoint that asks for memory beside its result's. */
static gboolean
run_group_norm (Scene *scene, GError **error)
{
  g_autoptr (SdRun) run = sd_run_new (2, compute_get ("blas", NULL), NULL, error);
  float    gain[SD_GROUPS] = { 0 }, bias[SD_GROUPS] = { 0 };
  SdNorm   norm = { gain, bias, SD_GROUPS };
  SdTensor x = { 1, 10, 12, SD_GROUPS, scene->picture->data }, y;

  if (! run)
    return FALSE;
  y = sd_group_norm (run, &norm, 1e-5f, TRUE, &x);
  sd_tensor_free (run, &y);
  return sd_run_finish (run, error);
}

typedef struct
{
  const char *name;
  gboolean (*run) (Scene *scene, GError **error);
} Action;

static const Action actions[] = {
  { "pictures", run_pictures },
  { "model", run_model },
  { "estimate", run_estimate },
  { "forward", run_forward },
  { "reverse", run_reverse },
  { "denoise", run_denoise },
  { "denoise-more", run_denoise_more },
  { "blend", run_blend },
  { "generate", run_generate },
  { "fill-smooth", run_fill },
  { "inpaint", run_inpaint },
  { "regenerate", run_regenerate },
  { "train", run_train },
  { "vocabulary", run_vocabulary },
  { "group-norm", run_group_norm },
};

/* ---- the tests ---- */

static gboolean
try_once (const Action *action, gint64 n, GError **error)
{
  Scene    scene;
  gboolean success;
  guint    before = g_hash_table_size (live);

  requests = 0;
  failing = n;
  success = scene_open (&scene, error) && action->run (&scene, error);
  scene_close (&scene);
  failing = -1;
  g_assert_cmpuint (g_hash_table_size (live), ==, before);
  return success;
}

static void
test_action (gconstpointer data)
{
  const Action *action = data;
  GError       *error = NULL;
  gint64        all, failed = 0;

  /* What is made once and kept is made here. */
  g_assert_true (try_once (action, -1, &error));
  g_assert_true (try_once (action, -1, &error));
  all = requests;
  for (gint64 n = 0; n < all; n++)
    {
      gboolean success = try_once (action, n, &error);

      /* Threads share the work by chance, so that a run may ask less often than another. */
      if (success && requests <= n)
        continue;
      g_assert_false (success);
      g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY);
      g_clear_error (&error);
      failed++;
    }
  g_print ("# measured: %s: %" G_GINT64_FORMAT " failures of memory injected\n", action->name, failed);
  g_assert_cmpint (failed, >, all * 9 / 10 - 5);
  g_assert_true (try_once (action, -1, &error));
}

static gboolean
yes (void)
{
  return TRUE;
}

/* Weights that are kept are laid out in their place again and again when pictures of two sizes take turns; of the two
 * layouts the larger picture's, for Winograd's products, takes 16/9 of the other's room. */
static void
test_kept_weights (gconstpointer data)
{
  enum
  {
    CHANNELS = 320,
    SIDE = 32,
    WEIGHTS = CHANNELS * CHANNELS * 9
  };
  ComputeBackend    backend = *(const ComputeBackend *) data;
  g_autofree float *weights = new_values (WEIGHTS, 1, 0.02), *values = new_values (SIDE * SIDE * CHANNELS, 2, 1);
  int               dims[] = { WEIGHTS };
  TensorEntry       entry = { "weights", dims, 1, WEIGHTS, weights, TENSOR_F32 };
  GError           *error = NULL;
  TensorView        view;
  g_autoptr (SdRun) run = NULL;
  g_autoptr (TensorFile) file = NULL;

  backend.is_short_of_multipliers = yes;
  run = sd_run_new (1, &backend, NULL, &error);
  g_assert_no_error (error);
  tensors_write (out_path, &entry, 1, NULL, &error);
  file = tensor_file_open (out_path, &error);
  g_assert_no_error (error);
  g_assert_true (tensor_file_view (file, "weights", &view));
  for (int round = 0; round < 25; round++)
    {
      const SdLayer layer = { file, view.offset, TENSOR_F32, CHANNELS, CHANNELS, 9, NULL };

      if (round == 1)
        requests = 0;
      for (int side = SIDE; side >= SIDE / 2; side /= 2)
        {
          SdTensor x = { 1, side, side, CHANNELS, values }, y = sd_conv3 (run, &layer, &x);

          g_assert_no_error (run->error);
          sd_tensor_free (run, &y);
        }
    }
  g_assert_cmpint (requests, ==, 0); /* all that is needed was there after the first round */
}

/* A file of a hundred bytes must not make the engine ask for gigabytes. */
static void
test_claims (void)
{
  static const char json[]
      = "{\"__metadata__\":{\"format\":\"gimp-diffusion 1\",\"widths\":\"1024,1024,1024,1024,1024\","
        "\"blocks\":\"32,32,32,32,32\"}}";
  guint64 length = GUINT64_TO_LE (sizeof json - 1);
  g_autoptr (GString) text = g_string_new_len ((const char *) &length, 8);
  GError *error = NULL;

  g_string_append (text, json);
  g_assert_true (g_file_set_contents (out_path, text->str, (gssize) text->len, NULL));
  largest = 0;
  g_assert_null (diffusion_model_load (out_path, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_assert_cmpuint (largest, <, 1 << 20);
  g_clear_error (&error);
}

static void
prepare (void)
{
  g_autoptr (DiffusionModel) model = diffusion_model_new (&small, 1, NULL);
  g_autofree guint8     *rgb = g_malloc (64 * 64 * 3);
  DiffusionCorpusWriter *writer;
  GError                *error = NULL;

  folder = g_dir_make_tmp ("faults XXXXXX", NULL);
  model_path = g_build_filename (folder, "model.safetensors", NULL);
  out_path = g_build_filename (folder, "out.safetensors", NULL);
  corpus_path = g_build_filename (folder, "set.corpus", NULL);
  diffusion_model_save (model, model_path, &error);
  g_assert_no_error (error);
  for (int i = 0; i < 64 * 64 * 3; i++)
    rgb[i] = (guint8) (i * 7 % 251);
  writer = diffusion_corpus_writer_new (corpus_path, &error);
  for (int i = 0; i < 3; i++)
    g_assert_true (diffusion_corpus_writer_add (writer, 64, 64, rgb, &error));
  g_assert_true (diffusion_corpus_writer_finish (writer, &error));
}

int
main (int argc, char **argv)
{
  g_autofree const ComputeBackend **backends = compute_list ();
  int                               status;

  g_test_init (&argc, &argv, NULL);
  failing = -1;
  prepare ();
  for (gsize i = 0; i < G_N_ELEMENTS (actions); i++)
    {
      g_autofree char *name = g_strconcat ("/faults/memory/", actions[i].name, NULL);

      g_test_add_data_func (name, &actions[i], test_action);
    }
  g_test_add_func ("/faults/claims", test_claims);
  for (int i = 0; backends[i]; i++)
    {
      g_autofree char *name = g_strconcat ("/faults/kept-weights/", backends[i]->name, NULL);

      if (backends[i]->filter_new)
        g_test_add_data_func (name, backends[i], test_kept_weights);
    }
  status = g_test_run ();
  g_unlink (model_path);
  g_unlink (out_path);
  g_unlink (corpus_path);
  g_rmdir (folder);
  return status;
}
