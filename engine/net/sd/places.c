/* Where checkpoints are.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "checkpoint.h"

#include <string.h>

/* No list of folders is worth more of the user's time: so many entries are looked at, folders and files, in all. */
#define ENTRIES_MOST 20000

static const char SUFFIX[] = ".safetensors";

/* Levels of folders that are looked through: people sort their files into some. */
#define DEPTH 3
/* models--OWNER--NAME/snapshots/REVISION/FILE */
#define HUB_DEPTH 4

/* Below the home folder, where widely used programs keep checkpoints unless they are told otherwise. */
static const char *const usual_folders[] = {
  "stable-diffusion-webui/models/Stable-diffusion",
  "stable-diffusion-webui-forge/models/Stable-diffusion",
  "ComfyUI/models/checkpoints",
  "Documents/ComfyUI/models/checkpoints",
  "comfy/ComfyUI/models/checkpoints",
  /* FAMILY/main/NAME, or in newer versions KEY/NAME. */
  "invokeai/models",
  "SwarmUI/Models/Stable-Diffusion",
  "StabilityMatrix/Data/Models/StableDiffusion",
  "EasyDiffusion/models/stable-diffusion",
  "easy-diffusion/models/stable-diffusion",
  ".local/share/krita/ai_diffusion/server/ComfyUI/models/checkpoints",
  ".local/share/krita/ai_diffusion/server/models/checkpoints",
  ".local/share/krita-ai-diffusion/server/ComfyUI/models/checkpoints",
  ".var/app/org.kde.krita/data/krita/ai_diffusion/server/ComfyUI/models/checkpoints",
};

typedef struct
{
  GPtrArray *paths;
  int        entries;
} Places;

static void
list_folder (Places *places, const char *folder, int depth)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir && places->entries < ENTRIES_MOST && (name = g_dir_read_name (dir)))
    {
      g_autofree char    *path = g_build_filename (folder, name, NULL);
      DiffusionCheckpoint checkpoint;

      places->entries++;
      if (name[0] == '.')
        continue;
      if (g_str_has_suffix (name, SUFFIX))
        {
          if (g_file_test (path, G_FILE_TEST_IS_REGULAR) && diffusion_checkpoint_look (path, &checkpoint, NULL))
            g_ptr_array_add (places->paths, g_steal_pointer (&path));
        }
      else if (depth > 1 && ! g_file_test (path, G_FILE_TEST_IS_SYMLINK) && g_file_test (path, G_FILE_TEST_IS_DIR))
        list_folder (places, path, depth - 1);
    }
}

/* What is below a folder that an environment variable names, if it does. */
static void
list_named (Places *places, const char *variable, const char *below, int depth)
{
  const char      *value = g_getenv (variable);
  g_autofree char *folder = value && *value ? g_build_filename (value, below, NULL) : NULL;

  if (folder)
    list_folder (places, folder, depth);
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  g_autofree char *first = g_path_get_basename (*(char *const *) a), *second = g_path_get_basename (*(char *const *) b);
  int              order = g_utf8_collate (first, second);

  return order ? order : strcmp (*(char *const *) a, *(char *const *) b);
}

/* The same folder can be named twice, by a variable and by itself. */
static void
remove_repeated (GPtrArray *paths)
{
  for (guint i = 1; i < paths->len;)
    if (strcmp (paths->pdata[i - 1], paths->pdata[i]) == 0)
      g_ptr_array_remove_index (paths, i);
    else
      i++;
}

char **
diffusion_checkpoint_list (void)
{
  g_autoptr (GPtrArray) paths = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *own = g_build_filename (g_get_user_data_dir (), "gimp-diffusion", "models", NULL);
  g_autofree char *hub = g_build_filename (g_get_user_cache_dir (), "huggingface", "hub", NULL);
  Places           places = { paths, 0 };

  list_named (&places, "DIFFUSION_MODELS", "", DEPTH);
  list_folder (&places, own, DEPTH);
  for (gsize i = 0; i < G_N_ELEMENTS (usual_folders); i++)
    {
      g_autofree char *folder = g_build_filename (g_get_home_dir (), usual_folders[i], NULL);

      list_folder (&places, folder, DEPTH);
    }
  list_named (&places, "INVOKEAI_ROOT", "models", DEPTH);
  list_named (&places, "HF_HUB_CACHE", "", HUB_DEPTH);
  list_named (&places, "HF_HOME", "hub", HUB_DEPTH);
  list_folder (&places, hub, HUB_DEPTH);
  g_ptr_array_sort (paths, compare_names);
  remove_repeated (paths);
  g_ptr_array_set_free_func (paths, NULL);
  g_ptr_array_add (paths, NULL);
  return (char **) g_ptr_array_free (g_steal_pointer (&paths), FALSE);
}
