/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The public interface of libdiffusion.  A whole use of it:
 *
 *   GError                      *error = NULL;
 *   g_autofree char             *path  = diffusion_model_find (DIFFUSION_MODEL_DENOISE, &error);
 *   g_autoptr (DiffusionModel)   model = path ? diffusion_model_load (path, &error) : NULL;
 *   g_autoptr (DiffusionPicture) photo = diffusion_picture_new (width, height, 3, &error);
 *   DiffusionNoise               noise;
 *   DiffusionOptions             options = DIFFUSION_OPTIONS_INIT;
 *
 *   ... fill photo->data with R'G'B' in [0, 1] ...
 *   if (diffusion_estimate_noise (photo, NULL, &noise, &error) &&
 *       diffusion_denoise (model, photo, NULL, &noise, 1.0, &options, NULL, &error))
 *     ... photo->data is the denoised photograph ...
 *
 * One idea carries all of it: every pixel has its own noise level, and the map of these levels is the network's only
 * condition.  diffusion_reverse () walks each pixel from its level back to 0; a pixel of level 0 comes back bit for
 * bit. Each task (denoise, generate, inpaint, regenerate) only builds a map and says what noise is added before.
 *
 * Units, everywhere in this file: pictures are perceptual sRGB (R'G'B'), nominally in [0, 1]; values outside are legal.
 * Noise levels are standard deviations in the same units, so that the level that photographers call 25 is 25.0 / 255.
 * (Inside, the network works on [-1, 1] as in Karras et al. 2022, "EDM": there all levels are doubled.)
 *
 * The engine never prints, exits or aborts on bad input; each failure is a GError of the domain DIFFUSION_ERROR or
 * G_IO_ERROR, one sentence that a user can act on.  G_IO_ERROR_CANCELLED means that the GCancellable was triggered; the
 * picture that was being worked on then holds unspecified values.  All functions may be called from any thread; a
 * DiffusionModel is immutable after loading and may be shared between threads.
 */
#pragma once

#include <gio/gio.h>
#include <glib.h>

G_BEGIN_DECLS

/* ---- errors
 * ------------------------------------------------------------------------------------------------------------ */

#define DIFFUSION_ERROR (diffusion_error_quark ())
GQuark diffusion_error_quark (void);

typedef enum
{
  DIFFUSION_ERROR_ARGUMENT, /* a parameter out of range, pictures whose sizes do not match */
  DIFFUSION_ERROR_MODEL,    /* a model file that is truncated, of another architecture, or damaged */
  DIFFUSION_ERROR_MEMORY,   /* an allocation failed */
  DIFFUSION_ERROR_DATA,     /* training data missing or unusable */
  DIFFUSION_ERROR_FILE      /* a file could not be read or written */
} DiffusionErrorCode;

/* ---- pictures and maps
 * ------------------------------------------------------------------------------------------------- */

/* A picture (3 channels) or a map (1 channel): rows from the top, channels interleaved, no padding. */
typedef struct
{
  int    width;    /* pixels, at least 1 */
  int    height;   /* pixels, at least 1 */
  int    channels; /* 3: R'G'B'; 1: a map (noise levels, or a mask in [0, 1]) */
  float *data;     /* height * width * channels values, owned */
} DiffusionPicture;

/* A new picture of zeros, to be freed with diffusion_picture_free (); NULL and DIFFUSION_ERROR_ARGUMENT or _MEMORY on
 * failure. */
DiffusionPicture *diffusion_picture_new (int width, int height, int channels, GError **error);
DiffusionPicture *diffusion_picture_copy (const DiffusionPicture *picture, GError **error);
void              diffusion_picture_free (DiffusionPicture *picture); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (DiffusionPicture, diffusion_picture_free)

/* ---- models
 * ------------------------------------------------------------------------------------------------------------ */

/* The U-Net's shape: residual blocks of two 3x3 convolutions at halved resolutions, the first level at 1/2. */
#define DIFFUSION_MAX_LEVELS 5
typedef struct
{
  int levels;                       /* 1 ... DIFFUSION_MAX_LEVELS */
  int width[DIFFUSION_MAX_LEVELS];  /* channels per level, each a multiple of 8, at most 1024 */
  int blocks[DIFFUSION_MAX_LEVELS]; /* residual blocks on the way down and again on the way up; at the last level: in
                                       all */
} DiffusionArchitecture;

/* The default: 64, 128 and 256 channels, 2 + 2 blocks at the first two levels and 4 at the last. */
extern const DiffusionArchitecture diffusion_architecture_default;

typedef struct _DiffusionModel DiffusionModel;

/* The models that are used where none is named: for photographs, and for filling, regenerating and generating. */
#define DIFFUSION_MODEL_DENOISE "default"
#define DIFFUSION_MODEL_FILL    "inpaint"

/* Finds a model file by name ("" for DIFFUSION_MODEL_DENOISE): a path that has a slash, or that ends like a model file
 * and is one, is taken as it is; a bare name is looked up as NAME.safetensors in $DIFFUSION_MODELS, then in
 * gimp-diffusion/models below the user's and the system's data folders.  Where there is no
 * DIFFUSION_MODEL_FILL, that name means DIFFUSION_MODEL_DENOISE.  Returns a path to be freed with g_free (), or
 * NULL and DIFFUSION_ERROR_MODEL with a sentence that says where it looked. */
char *diffusion_model_find (const char *name, GError **error);

/* The model files in all these folders: paths, sorted by name, NULL-terminated, g_strfreev ().  Files that cannot be
 * loaded are among them, so that a list can say why; of two of one name the one that diffusion_model_find () finds. */
char **diffusion_model_list (void);

/* Reads a safetensors file and checks it: header, architecture, every tensor's shape and that all weights are finite.
 */
DiffusionModel *diffusion_model_load (const char *path, GError **error);
/* The same for what may be a checkpoint of several GB, all of which is read once to be checked: cancelled, it ends
 * within a moment with G_IO_ERROR_CANCELLED.  cancellable: may be NULL. */
DiffusionModel *diffusion_model_load_cancellable (const char *path, GCancellable *cancellable, GError **error);
/* An untrained model, its weights drawn from the seed: by construction it predicts the optimal linear guess of a
 * picture. */
DiffusionModel *diffusion_model_new (const DiffusionArchitecture *architecture, guint64 seed, GError **error);
/* Writes f16 tensors, atomically: an existing file is replaced only by a complete new one. */
gboolean        diffusion_model_save (const DiffusionModel *model, const char *path, GError **error);
DiffusionModel *diffusion_model_ref (DiffusionModel *model);
void            diffusion_model_unref (DiffusionModel *model);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (DiffusionModel, diffusion_model_unref)

/* NULL for a checkpoint. */
const DiffusionArchitecture *diffusion_model_get_architecture (const DiffusionModel *model);
/* Entries of the file's __metadata__ ("name", "license", "data", "samples", ...): NULL when absent; owned by the model.
 */
const char *diffusion_model_get_metadata (const DiffusionModel *model, const char *key);
void   diffusion_model_set_metadata (DiffusionModel *model, const char *key, const char *value); /* before sharing it */
char **diffusion_model_list_metadata (const DiffusionModel *model); /* keys, sorted, NULL-terminated; g_strfreev () */
gsize  diffusion_model_count_parameters (const DiffusionModel *model);
double
diffusion_model_count_macs (const DiffusionModel *model); /* multiply-accumulates per picture pixel, direct form */
/* The network is local: an output pixel depends on input pixels at most this far away (Chebyshev distance).  A
 * checkpoint's is not; for one this is how far surroundings are worth handing over. */
int diffusion_model_get_margin (const DiffusionModel *model);

/* ---- how an operation runs
 * --------------------------------------------------------------------------------------------- */

typedef enum
{
  DIFFUSION_SAMPLER_DDPM,            /* ancestral Markov chain (Ho et al. 2020) */
  DIFFUSION_SAMPLER_DDIM,            /* deterministic, first order (Song et al. 2021) */
  DIFFUSION_SAMPLER_DPMPP_2M,        /* deterministic, second order multistep (Lu et al. 2022) */
  DIFFUSION_SAMPLER_EULER,           /* Euler's method on the probability flow (Karras et al. 2022): for noise that is
                                        added and not blended in, as here, this is DDIM's step */
  DIFFUSION_SAMPLER_EULER_ANCESTRAL, /* the same down to below the next level and noise up to it: DDPM's step */
  DIFFUSION_SAMPLER_LCM              /* the prediction, noised anew to the next level: for few-step models (Song et al.
                                        2023, "Consistency models", algorithm 1) */
} DiffusionSampler;

#define DIFFUSION_N_SAMPLERS (DIFFUSION_SAMPLER_LCM + 1)

/* "ddpm", "ddim", "dpm++2m", "euler", "euler-a", "lcm" and back; parsing fails with DIFFUSION_ERROR_ARGUMENT and names
 * the choices. */
const char *diffusion_sampler_get_name (DiffusionSampler sampler);
gboolean    diffusion_sampler_parse (const char *name, DiffusionSampler *sampler, GError **error);

/* Called on the calling thread as work proceeds; fraction grows from 0 to 1. */
typedef void (*DiffusionProgress) (double fraction, gpointer user_data);

#define DIFFUSION_MAX_STEPS 1000

/* What a checkpoint's network predicts. */
typedef enum
{
  DIFFUSION_PREDICTION_AUTO,    /* the file's own; of a file: not known, found out when it is loaded */
  DIFFUSION_PREDICTION_EPSILON, /* the noise (Ho et al. 2020) */
  DIFFUSION_PREDICTION_V        /* a mixture of noise and picture (Salimans and Ho 2022) */
} DiffusionPrediction;

/* Where the reverse process stands after one of its steps: valid during the call only. */
typedef struct
{
  int    step;                        /* done so far: 1 ... steps; 0: a proposal that the process will start from */
  int    steps;                       /* in all */
  double level_from, level_to;        /* the map's largest level before and after this step, picture units; 0 at last */
  const DiffusionPicture *prediction; /* the clean picture as the network saw it in this step; known pixels are there */
  const DiffusionPicture *state;      /* the noisy picture that the next step starts from */
  int x, y;      /* where the left upper corner of these pictures lies in the picture that the task was given */
  int reduction; /* one of their pixels is as wide as so many of the task's: a power of 2; 0: they cannot be placed */
} DiffusionStep;

/* Called on the calling thread after each step of the reverse process: for a preview that sharpens as the work
 * proceeds.  A task that runs the process more than once (a reduced picture first, parts of a picture) calls for each
 * run, with pictures of that run's size, and says where they lie.  Looking on changes no result; it keeps one more
 * picture in memory. */
typedef void (*DiffusionStepFunc) (const DiffusionStep *step, gpointer user_data);

typedef struct
{
  int              steps;   /* network evaluations per pixel, 1 ... DIFFUSION_MAX_STEPS */
  DiffusionSampler sampler; /* irrelevant at one step: all give the posterior mean */
  guint64          seed;
  int              origin_x, origin_y; /* the picture's place in the field of random numbers: a crop of a layer that
                                          says where it lies draws the same noise as the whole layer */
  int threads;                         /* 0: all physical cores */
  int tile; /* edge of the pieces in pixels, 0: by cache and memory.  Changes speed and memory, the result only by
               rounding */
  DiffusionProgress progress; /* may be NULL */
  gpointer          progress_data;
  DiffusionStepFunc on_step; /* may be NULL */
  gpointer          step_data;

  /* For checkpoints (below) only. */
  const char *prompt, *negative;  /* UTF-8, NULL: empty.  (words:1.3) weights words, (words) is 1.1, [words] 1 / 1.1 */
  double      guidance;           /* how far away from the negative prompt's prediction, towards and beyond the prompt's
                                     (Ho and Salimans 2022): 1 is the prompt's own, at half the time; negative: the
                                     checkpoint's default */
  int size;                       /* edge in pixels of what its network sees at once, a multiple of 64; 0: its native
                                     one; less is faster */
  DiffusionPrediction prediction; /* overrides what is known of the checkpoint; AUTO does not */
} DiffusionOptions;

#define DIFFUSION_OPTIONS_INIT                                                                                         \
  {                                                                                                                    \
    1, DIFFUSION_SAMPLER_DPMPP_2M, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, -1, 0, DIFFUSION_PREDICTION_AUTO \
  }

/* ---- checkpoints of Stable Diffusion
 * ------------------------------------------------------------------------------------ */

/* diffusion_model_load () also takes a Stable Diffusion 1.x or 2.x checkpoint in one safetensors file, and
 * refuses others with a sentence that says what they are, or names the first missing tensor.  Such a model serves
 * diffusion_generate (), diffusion_inpaint () and diffusion_regenerate (), with the prompts of DiffusionOptions; the
 * other operations fail with DIFFUSION_ERROR_MODEL.  Its noise level is one for a whole latent, so a map is honoured
 * step by step: at each, what has a lower level of its own is put back from the noised original (Levin and Fried 2023,
 * "Differential Diffusion"). */
typedef enum
{
  DIFFUSION_FAMILY_SD1,
  DIFFUSION_FAMILY_SD2
} DiffusionFamily;

typedef struct
{
  DiffusionFamily     family;
  DiffusionPrediction prediction;
  gboolean            inpainting;  /* its network is told the hole and the surroundings */
  gboolean            few_steps;   /* an LCM merge, a Turbo: by its file's name, its title or its tensors */
  int                 native_size; /* pixels: 512 or 768, or a multiple of 64 from 256 to 1024 that its metadata
                                    * name; as the prediction, surely known of a loaded model only */
  /* Defaults for DiffusionOptions. */
  int              steps;
  DiffusionSampler sampler;
  double           guidance;
} DiffusionCheckpoint;

/* NULL for a model of this program; owned by the model. */
const DiffusionCheckpoint *diffusion_model_get_checkpoint (const DiffusionModel *model);
/* Looks at a file's header only.  FALSE when it is no checkpoint that can be used: the error says why. */
gboolean diffusion_checkpoint_look (const char *path, DiffusionCheckpoint *checkpoint, GError **error);
/* A prompt has room for 75 tokens: how many more it has, which are left out.  0 for a model of this program. */
int diffusion_model_count_dropped (const DiffusionModel *model, const char *prompt);
typedef struct
{
  int x, y, width, height; /* pixels */
} DiffusionBox;
/* What regenerating the box around regions of a picture of width x height pixels, or filling holes in it (as
 * diffusion_inpaint_get_holes () says where they are), needs, beyond the picture: bytes of memory at the peak, and
 * seconds on this machine (from a short measurement, made once).  Both are 0 for a model of this program. */
void diffusion_model_estimate_cost (const DiffusionModel *model, int width, int height, const DiffusionBox *regions,
                                    int n_regions, gboolean fill, const DiffusionOptions *options, double *bytes,
                                    double *seconds);
/* A clock of the calling thread's work: seconds of processor time, but for what is done once and not again: preparing
 * for pictures of sizes not met before, and, where the system tells, its giving memory.  As the calling thread takes
 * part in all that a task computes, what the clock advances by meanwhile is about what the same task takes when it is
 * done again and nothing else is done on the processor. */
double diffusion_get_work_seconds (void);
/* How many pixels around a region of this size are looked at, at most: a caller that hands over the region and so much
 * around it gets what the whole picture would give.  (With a model of this program: see
 * diffusion_inpaint_get_boxes () and diffusion_model_get_margin ().) */
int diffusion_model_get_reach (const DiffusionModel *model, int width, int height, const DiffusionOptions *options);
/* Checkpoints in the user's model folder and in the folders where other programs keep theirs.  These are only looked
 * at, to a limited depth, and no file is opened but such as are named .safetensors and look like checkpoints that can
 * be used by their headers.  Paths, sorted by name, NULL-terminated, g_strfreev (). */
char **diffusion_checkpoint_list (void);

/* ---- forward and reverse process
 * --------------------------------------------------------------------------------------- */

/* The forward process as a Markov chain in t: t runs from 0 (clean) to 1 (every pixel at its level of the map); the
 * marginal at t is  x_t = x_0 + t * level * eps.  Adds, in place, the noise of the step from t0 to t1 (0 <= t0 <= t1):
 * independent Gaussian of variance level^2 (t1^2 - t0^2), drawn by counter from (seed, step, pixel position, channel)
 * and so the same in any tiling.  Steps of one chain need different step numbers.  level: 1 channel, the picture's
 * size. (Ho et al. 2020, eq. 2, in the variance-exploding form of Karras et al. 2022.) */
gboolean diffusion_forward (DiffusionPicture *picture, const DiffusionPicture *level, double t0, double t1,
                            guint64 seed, guint step, int origin_x, int origin_y, GError **error);

/* The noise levels of a reverse process of so many steps from the level `largest` (above 0): levels[0] = largest,
 * falling, levels[steps] = 0.  levels: steps + 1 values.  (Karras et al. 2022, eq. 5.) */
void diffusion_schedule (double largest, int steps, double *levels);

/* The level that the forward process ends and diffusion_generate () starts at: nothing of any picture is left (Karras
 * et al. 2022: sigma_max of 80 on [-1, 1]). */
#define DIFFUSION_LEVEL_MOST 40.0

/* The reverse process, in place: picture holds x_1 (each pixel has noise of its level in the map) and becomes a sample
 * of, or at one step the mean of, what the model believes the clean picture to be.  level: 1 channel, the picture's
 * size, finite and >= 0; pixels at 0 are known: they inform their neighbours and come back bit for bit. */
gboolean diffusion_reverse (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionPicture *level,
                            const DiffusionOptions *options, GCancellable *cancellable, GError **error);

/* ---- tasks
 * ------------------------------------------------------------------------------------------------------------- */

/* The noise of a photograph: its standard deviation over all pixels and channels, and how it depends on brightness. */
#define DIFFUSION_NOISE_BINS 16
typedef struct
{
  double sigma;                       /* overall, picture units; what a dialog shows, times 255 */
  double luma, chroma;                /* of Y' = (R' + G' + B') / 3, and the mean of the two colour differences' own */
  double curve[DIFFUSION_NOISE_BINS]; /* level at brightness (i + 0.5) / DIFFUSION_NOISE_BINS */
  int    spots;                       /* of 8 x 8 pixels that were measured; 0: none were there, or a user's number */
} DiffusionNoise;

/* White noise of one level: for a user's number. */
void diffusion_noise_set_uniform (DiffusionNoise *noise, double sigma);

/* Estimates the noise that a photograph already has, robust to its texture.  mask: 1 channel, only pixels above 0.5
 * count; NULL: all.  A mask can be too small or too ragged for a single spot: then all levels are 0. */
gboolean diffusion_estimate_noise (const DiffusionPicture *picture, const DiffusionPicture *mask, DiffusionNoise *noise,
                                   GError **error);

/* Denoises a photograph in place.  The map is the noise's curve at each pixel's (smoothed) brightness x mask.
 * mask: 1 channel in [0, 1] or NULL for 1 everywhere.  strength: 0 (picture unchanged) ... 1 (the network's result;
 * less is a blend of the two, as by diffusion_denoise_blend ()) ... 2 (a further call on the result takes more,
 * wherever that makes it smoother).  More strength never leaves more noise in flat areas.  Costs options->steps network
 * calls, and one more above a strength of 1. */
gboolean diffusion_denoise (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionPicture *mask,
                            const DiffusionNoise *noise, double strength, const DiffusionOptions *options,
                            GCancellable *cancellable, GError **error);

/* Blends a photograph with what diffusion_denoise () made of it at a strength of 1 or more; no network is called, so a
 * result that is kept can follow a slider.  What was taken away is original - denoised; of its luma (the mean of R', G'
 * and B')
 *     strength x (1 - detail)
 * stays away, of its colour (the rest)
 *     strength x colour;
 * the remainder is given back.
 *   strength: 0 (the original, bit for bit) ... 1; up to 2 is allowed and means 1, the rest being in `denoised`
 *   detail:   0 (default) ... 1 (all of the luma stays as it was: grain and texture; only colour noise goes)
 *   colour:   0 (the colour noise stays) ... 1 (default: it goes)
 * With 1, 0 and 1 out is `denoised` and a pixel that denoising left alone is always itself, bit for bit.  All pictures
 * have 3 channels and one size; out may be one of the other two.  Fails with DIFFUSION_ERROR_ARGUMENT alone. */
gboolean diffusion_denoise_blend (const DiffusionPicture *original, const DiffusionPicture *denoised, double strength,
                                  double detail, double colour, DiffusionPicture *out, GError **error);

/* Fills the picture with a sample from pure noise. */
gboolean diffusion_generate (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionOptions *options,
                             GCancellable *cancellable, GError **error);

/* Gives each pixel whose first value is NAN a smooth continuation of the pixels around it, in place; where nothing is
 * known at all, mid grey.  What a network must not see (pixels without a meaning) is made harmless by it. */
gboolean diffusion_fill_smooth (DiffusionPicture *picture, GError **error);

/* How a file's or a layer's own pixels go to the engine and back, be they 2 floats (grey) or 4 (R', G', B'), of which
 * the last is alpha.  seen: what the engine is to be shown, within [DIFFUSION_LOWEST, DIFFUSION_HIGHEST]: noise swings
 * below black and above white, but the sun in a linear HDR picture is no colour for a network.  FALSE, and NAN for
 * diffusion_fill_smooth (), where the pixel means nothing: not visible, or not finite. */
#define DIFFUSION_LOWEST  (-1.0f)
#define DIFFUSION_HIGHEST 2.0f
gboolean diffusion_pixel_show (const float *pixel, int components, float seen[3]);

/* Replaces the colours of a pixel that is within those limits by what the engine made of it; FALSE, and nothing, if it
 * means nothing or the engine left it alone.  What is then to be added to the pixel's own value, which may lie beyond
 * the limits, is the difference. */
gboolean diffusion_pixel_change (float *pixel, int components, const float result[3]);

/* Pixels by which a hole is grown at most, unless it is said. */
#define DIFFUSION_INPAINT_GROWN 2

typedef struct
{
  int context; /* pixels of surroundings that are looked at around each region, 1 ... 4096; 0: by the region's size */
  int grow;    /* pixels by which the hole is grown, 0 ... 256: around a cut-out thing there is often a fringe of it;
                  -1: DIFFUSION_INPAINT_GROWN for large regions, 0 for thin ones, whose masks are mostly exact */
  int feather; /* width in pixels, 0 ... 256, of the fill's fade at the edge of the grown hole, inwards; -1: as grow,
                  so that it ends where the mask begins */
  double texture; /* how much of the texture is taken from the surroundings: 0 (the model's own) ... 1; negative: chosen
                     by whether the surroundings are rough or smooth */
  double noise; /* level of the photograph's noise, picture units: known pixels are taken to have it, and the fill gets
                   it; negative: estimated from the surroundings */
} DiffusionInpaintOptions;

#define DIFFUSION_INPAINT_OPTIONS_INIT                                                                                 \
  {                                                                                                                    \
    0, -1, -1, -1, -1                                                                                                  \
  }
/* The number of steps that inpainting and regenerating are tuned for, and their sampler: for DiffusionOptions. */
#define DIFFUSION_INPAINT_STEPS      16
#define DIFFUSION_INPAINT_SAMPLER    DIFFUSION_SAMPLER_DDPM
#define DIFFUSION_REGENERATE_STEPS   20
#define DIFFUSION_REGENERATE_SAMPLER DIFFUSION_SAMPLER_DDPM

/* Each value of a mask becomes the largest of those up to `by` columns and rows away: how a fill that is grown shows
 * where a soft selection ends.  by: 0 or more.  Fails for want of memory alone. */
gboolean diffusion_mask_widen (DiffusionPicture *mask, int by, GError **error);

/* Fills holes in place.  mask: 1 channel in [0, 1], the picture's size: 0 is known, anything above is a hole, whose
 * pixels' old values play no part except that they show through where the mask is below 1.  Each connected region is
 * worked on at the picture's own resolution within a crop of its surroundings.  options->steps: network calls per pixel
 * at the finest resolution, at most.  Pixels outside the grown hole come back bit for bit (but see NAN); another seed
 * gives another fill.  A pixel whose first value is NAN is invisible: it tells nothing of the noise, and comes back as
 * diffusion_fill_smooth () makes it, which is what the fill sees there; such a smooth continuation made before would be
 * taken for a photograph without noise.  Fails with DIFFUSION_ERROR_ARGUMENT if nothing is selected, or nothing is left
 * to learn from. */
gboolean diffusion_inpaint (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionPicture *mask,
                            const DiffusionInpaintOptions *inpaint, const DiffusionOptions *options,
                            GCancellable *cancellable, GError **error);

/* The pixels that diffusion_inpaint () may change: the box around the grown holes, and the larger one around all
 * surroundings that it looks at; both within the picture.  A caller that hands over only the second's pixels (and its
 * place as options->origin_x, _y) gets what the whole picture would give, if it gives the noise, too: the estimate is
 * of what is handed over.  With a view only the holes that reach into it count; both boxes have no width if none does.
 */
gboolean diffusion_inpaint_get_boxes (const DiffusionPicture *mask, const DiffusionInpaintOptions *inpaint,
                                      const DiffusionBox *view, DiffusionBox *changed, DiffusionBox *seen,
                                      GCancellable *cancellable, GError **error);

/* The boxes around the grown holes that diffusion_inpaint () fills, one by one or several together; g_free ().  NULL
 * with an error. */
DiffusionBox *diffusion_inpaint_get_holes (const DiffusionPicture *mask, const DiffusionInpaintOptions *inpaint,
                                           int *count, GCancellable *cancellable, GError **error);

/* Makes a picture anew, in place (SDEdit: Meng et al. 2022).  strength: how far up the forward process it goes before
 * the way back, 0 (unchanged, bit for bit) ... 1 (nothing of it is left); mask: 1 channel in [0, 1], multiplies the
 * strength pixel by pixel, NULL: 1 everywhere; structure: how firmly the composition is held, 0 (free) ... 1: after
 * each step the low frequencies are pulled to the original's (ILVR: Choi et al. 2021). */
gboolean diffusion_regenerate (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionPicture *mask,
                               double strength, double structure, const DiffusionOptions *options,
                               GCancellable *cancellable, GError **error);

/* ---- training
 * ---------------------------------------------------------------------------------------------------------- */

/* A corpus: many 8-bit R'G'B' pictures packed into one file, none of them wider or higher than that. */
#define DIFFUSION_CORPUS_EDGE_MOST 65535
typedef struct _DiffusionCorpusWriter DiffusionCorpusWriter;
DiffusionCorpusWriter                *diffusion_corpus_writer_new (const char *path, GError **error);
gboolean diffusion_corpus_writer_add (DiffusionCorpusWriter *writer, int width, int height, const guint8 *rgb,
                                      GError **error);
/* Completes the file under its name (until here it does not exist there) and frees the writer, whatever the outcome. */
gboolean diffusion_corpus_writer_finish (DiffusionCorpusWriter *writer, GError **error);
void     diffusion_corpus_writer_discard (DiffusionCorpusWriter *writer);

typedef struct
{
  double loss; /* the samples' errors, geometric mean, smoothed; 1 for an untrained model */
  double samples_per_second;
  double seconds_left;  /* until the end of this run */
  gint64 samples;       /* seen by this model, earlier runs included */
  double seconds;       /* spent on this model, earlier runs included */
  double validation;    /* loss of the averaged weights on fixed held-out crops; NAN until first measured */
  guint  skipped;       /* steps left out because their gradient was an outlier */
  double gradient_norm; /* smoothed */
  double waited;        /* seconds of this run in which a step waited for its samples to be drawn */
} DiffusionTrainReport;
typedef void (*DiffusionTrainProgress) (const DiffusionTrainReport *report, gpointer user_data);
/* Called on the calling thread whenever the validation loss has been measured: before the first step, at each
 * checkpoint and at the end.  model: the averaged weights as they stand, valid during the call, good for trying out. */
typedef void (*DiffusionTrainStock) (const DiffusionModel *model, const DiffusionTrainReport *report,
                                     gpointer user_data);

/* What a sample's noise level map is drawn from. */
typedef enum
{
  DIFFUSION_TRAIN_DENOISE, /* the noise of photographs: DIFFUSION_MODEL_DENOISE */
  DIFFUSION_TRAIN_INPAINT, /* mostly holes and high levels, some of everything else: DIFFUSION_MODEL_FILL */
  DIFFUSION_TRAIN_STYLE    /* mostly levels at which the model's own hand shows: for regenerating in a style */
} DiffusionTrainMix;

/* Several processes that train one model together, on one machine or on many: each calls diffusion_train () with the
 * same options and a rank of its own.  A step of the optimizer takes `batch` samples from each, which are those that
 * one process with `ranks` times the batch would take, and goes along the sum of their gradients: so it is the same
 * training, only faster ("data parallel").  Rank 0's start, clock and files count: it alone validates, reports and
 * writes. Being cancelled, any rank ends the training of all; after any other failure the caller has to end the other
 * processes, which wait for it. */
typedef struct
{
  int rank, ranks; /* 0 or 1 ranks: alone */
  /* Replace the values by their sums over all ranks, the same on each, and return when that is done; called by all in
   * the same order, on the calling thread.  FALSE and an error when another rank is gone. */
  gboolean (*sum_floats) (float *values, gsize count, gpointer user_data, GError **error);
  gboolean (*sum_doubles) (double *values, gsize count, gpointer user_data, GError **error);
  gpointer user_data;
} DiffusionTeam;

typedef struct
{
  const char            *corpus; /* a packed corpus */
  const char            *out;    /* the model file; the state to resume from is kept beside it as OUT.checkpoint */
  const char            *from;   /* fine-tune this model file instead of starting afresh; NULL: afresh */
  DiffusionArchitecture  architecture; /* no levels: that of `from`, or the default; else of the widths of `from` */
  DiffusionTrainMix      mix;
  double                 minutes; /* length of the whole training, earlier runs included; counts if samples is 0 */
  gint64                 samples; /* the same, in samples */
  gboolean               resume;  /* go on from OUT.checkpoint if there is one */
  int                    batch;   /* samples per optimizer step */
  int                    crop;    /* their edge in pixels, a multiple of 2^levels */
  double                 learning_rate; /* at the peak of the cosine */
  guint64                seed;
  int                    threads;
  double                 checkpoint_minutes; /* between checkpoints */
  const char            *license;            /* metadata of the file that is written; may be NULL */
  const char            *data;
  DiffusionTrainProgress progress;
  gpointer               progress_data;
  DiffusionTrainStock    on_stock; /* may be NULL */
  gpointer               stock_data;
  DiffusionTeam          team;
} DiffusionTrainOptions;

#define DIFFUSION_TRAIN_OPTIONS_INIT                                                                                   \
  {                                                                                                                    \
    NULL, NULL, NULL, { 0 }, DIFFUSION_TRAIN_DENOISE, 0, 0, FALSE, 16, 64, 1e-3, 0, 0, 5, NULL, NULL, NULL, NULL       \
  }

/* Trains to the end, then writes the averaged weights to OUT.  Cancelling writes a checkpoint and fails with
 * G_IO_ERROR_CANCELLED. */
gboolean diffusion_train (const DiffusionTrainOptions *options, GCancellable *cancellable, GError **error);

/* ---- measuring speed
 * ---------------------------------------------------------------------------------------------------- */

/* Called with each figure as it is there; NAN: this processor lacks what it measures. */
typedef void (*DiffusionBenchFunc) (const char *key, double value, gpointer user_data);

/* Measures this machine and the engine on it, in a minute or two.  only: one part, "denoise", "machine", "network" or
 * "train", for a checkpoint "checkpoint"; NULL: all that the model is for.  threads: 0 for all physical cores.  The
 * keys are those that `diffusion bench --json` prints; GFLOP/s of convolutions count the multiplications of the direct
 * form. */
gboolean diffusion_bench (const DiffusionModel *model, const char *only, int threads, DiffusionBenchFunc func,
                          gpointer user_data, GCancellable *cancellable, GError **error);

G_END_DECLS
